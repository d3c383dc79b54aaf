package load

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"sonic-netservices/examples/kms/keylog"
)

// ErrVerify says that records are unreadable, missing or forged: what the report says is not proven. The report lists
// each problem with its file and line.
var ErrVerify = errors.New("verification failed")

// ErrVerdict says that the records are good and prove that a promise was not kept.
var ErrVerdict = errors.New("a promise was not kept")

// Check computes the report of a folder: of the load in it, or of the loads in its folders (live, cold, ..., or 1-live,
// 2-cold, 3-live, ... where both live ones make one part). Only ErrVerify and ErrVerdict come with a report.
func Check(dir string) (Report, error) {
	parts, err := readParts(dir)
	if err != nil {
		return Report{}, err
	}
	report := Analyse(parts)
	var unproven error
	if n := len(report.Problems); n > 0 {
		unproven = fmt.Errorf("%w: %d problems, the first: %s", ErrVerify, n, report.Problems[0])
	}
	return report, errors.Join(unproven, report.broken())
}

// Reported says whether an error of Check comes with a report.
func Reported(err error) bool { return errors.Is(err, ErrVerify) || errors.Is(err, ErrVerdict) }

// WriteReport writes report.json into the folder Check has read.
func WriteReport(dir string, r Report) error {
	text, err := r.Format()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, reportFile), text, 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// sameReport says whether a report that lies in the folder, if any, is this one.
func sameReport(dir string, text []byte) error {
	old, err := os.ReadFile(filepath.Join(dir, reportFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(old, text) {
		return fmt.Errorf("%w: %s says something else than the records", ErrVerify, filepath.Join(dir, reportFile))
	}
	return nil
}

// readParts in the order in which they were run.
func readParts(dir string) ([]Part, error) {
	if _, err := os.Stat(filepath.Join(dir, requestFile)); err == nil {
		p, err := readPart(dir, "load")
		return []Part{p}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var parts []Part
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(sub, requestFile)); err != nil {
			continue
		}
		if name := partName(e.Name()); slices.Contains([]string{"automatic", "holds", "verdict", "moves", "problems"}, name) {
			return nil, fmt.Errorf("%s: a part cannot have the name of a member of the report", sub)
		}
		p, err := readPart(sub, e.Name())
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%s: no %s here or one folder below", dir, requestFile)
	}
	slices.SortStableFunc(parts, func(a, b Part) int { return a.About.Start.Compare(b.About.Start) })
	return parts, nil
}

// readPart reads one load. An error is a file that cannot be had at all; what is wrong inside goes into Problems.
func readPart(dir, name string) (Part, error) {
	p, err := readRecords(dir, name)
	if err != nil {
		return p, err
	}
	if p.Freezes, p.Sampled, err = readLines(&p, dir, freezerFile, ParseFreeze); err != nil {
		return p, err
	}
	if p.Events, _, err = readLines(&p, dir, eventFile, ParseEvent); err != nil {
		return p, err
	}
	if err := p.readWatch(dir); err != nil {
		return p, err
	}
	return p, p.readVolume(dir)
}

// readRecords reads what the clients saw.
func readRecords(dir, name string) (Part, error) {
	p := Part{Name: name}
	text, err := os.ReadFile(filepath.Join(dir, aboutFile))
	if err != nil {
		return p, err
	}
	if p.About, err = ParseAbout(text); err != nil {
		return p, fmt.Errorf("%s: %w", filepath.Join(dir, aboutFile), err)
	}
	f, err := os.Open(filepath.Join(dir, requestFile))
	if err != nil {
		return p, err
	}
	defer f.Close()
	var problems []error
	p.Records, p.Truncated, problems = ReadRecords(bufio.NewReader(f))
	for _, err := range problems {
		p.problem(requestFile, err)
	}
	return p, nil
}

func (p *Part) problem(file string, err error) {
	p.Problems = append(p.Problems, fmt.Sprintf("%s: %s: %v", p.Name, file, err))
}

// readVolume reads the log and the key that verifies it. The service must have told the same key before the load.
func (p *Part) readVolume(dir string) error {
	told, err := keylog.ParsePublic([]byte(p.About.PublicKey))
	if err != nil {
		return fmt.Errorf("%s: public key: %w", filepath.Join(dir, aboutFile), err)
	}
	p.Public = told
	f, err := os.Open(filepath.Join(dir, logFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	p.Volume = &Volume{}
	// A torn last line is no problem by itself: its key was never answered, and if it was it counts as lost.
	if p.Volume.Entries, _, err = keylog.Read(f); err != nil {
		p.problem(logFile, err)
	}
	public, err := readPublic(dir)
	if err != nil {
		return err
	}
	if public != nil && !public.Equal(told) {
		p.problem("volume", errors.New("its key is not the one the service told before the load"))
	}
	return nil
}

// readPublic takes the key from the volume's signing key or from a public key laid beside the log; nil without both.
func readPublic(dir string) (ed25519.PublicKey, error) {
	text, err := os.ReadFile(filepath.Join(dir, signingFile))
	if err == nil {
		signer, err := keylog.ParseSigning(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, signingFile), err)
		}
		return signer.Public().(ed25519.PublicKey), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	text, err = os.ReadFile(filepath.Join(dir, publicFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	public, err := keylog.ParsePublic(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, publicFile), err)
	}
	return public, nil
}

// readLines reads a file of JSON lines. A file that ends within a line was cut by a crash: that line is left out.
func readLines[T any](p *Part, dir, name string, parse func([]byte) (T, error)) (all []T, there bool, err error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return all, true, nil
		}
		if err != nil {
			return all, true, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
		v, err := parse(line)
		if err != nil {
			p.problem(name, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		all = append(all, v)
	}
}
