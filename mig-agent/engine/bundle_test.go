package engine

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// writeBundle makes a bundle whose loader is a shell script: it runs the last program it is told, as ld.so does.
func writeBundle(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "criu.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, file := range [][2]string{
		{"lib64/ld-linux-x86-64.so.2", "#!/bin/sh\n[ \"$1\" = --library-path ] && [ -e \"$2/libc.so.6\" ] || exit 9\nshift 2\nexec \"$@\"\n"},
		{"usr/lib/libc.so.6", "library"},
		{"usr/sbin/criu", "#!/bin/sh\necho Version: " + version + "\n"},
		{"usr/bin/tar", "#!/bin/sh\necho our tar\n"},
	} {
		h := &tar.Header{Name: file[0], Mode: 0o755, Size: int64(len(file[1]))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// hostWith is a machine whose PATH has sh and, unless version is "", a criu.
func hostWith(t *testing.T, version string, more ...string) Host {
	t.Helper()
	bin := t.TempDir()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sh, filepath.Join(bin, "sh")); err != nil {
		t.Fatal(err)
	}
	if version != "" {
		more = append(more, "criu")
	}
	for _, name := range more {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho Version: "+version+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	return Host{Dir: t.TempDir()}
}

func TestInstallCRIU(t *testing.T) {
	for _, c := range []struct {
		name, host string
		prefer     CRIUFrom
		want       CRIUFrom
		runs       string
	}{
		{"none", "", FromHost, FromBundle, "4.2.1"},
		{"too old", "3.17.1", FromHost, FromBundle, "4.2.1"},
		{"new enough", "4.3", FromHost, FromHost, "4.3"},
		{"ours preferred", "4.3", FromBundle, FromBundle, "4.2.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hostWith(t, c.host)
			got, err := h.InstallCRIU(writeBundle(t, "4.2.1"), c.prefer)
			if err != nil {
				t.Fatal(err)
			}
			if runs := criuVersion(); got != c.want || h.CRIUFrom() != c.want || runs != c.runs {
				t.Errorf("from %s (%s), criu is %q; want from %s, %q", got, h.CRIUFrom(), runs, c.want, c.runs)
			}
		})
	}
}

// A damaged file is put right, a bundle before stays for what still runs from it, and goes after that.
func TestInstallCRIUAgain(t *testing.T) {
	h := hostWith(t, "")
	host := os.Getenv("PATH")
	install := func(bundle string) string {
		t.Helper()
		os.Setenv("PATH", host) // as a helper begins
		if _, err := h.InstallCRIU(bundle, FromHost); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(h.Dir, "criu", h.usedBundle())
	}
	first := install(writeBundle(t, "4.2.1"))
	program := filepath.Join(first, "usr/sbin/criu")
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte{}, text...)
	bad[len(bad)/2] ^= 1
	if err := os.WriteFile(program, bad, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(first, "lib64/ld-linux-x86-64.so.2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again := install(writeBundle(t, "4.2.1")); again != first || criuVersion() != "4.2.1" {
		t.Errorf("a damaged bundle stays: %s, criu is %q", again, criuVersion())
	}
	second := install(writeBundle(t, "4.2.2"))
	if second == first || criuVersion() != "4.2.2" || !exists(first) {
		t.Errorf("after an upgrade: criu is %q, the bundle before is there: %v", criuVersion(), exists(first))
	}
	if install(writeBundle(t, "4.2.2")); exists(first) {
		t.Error("the bundle before stays for ever")
	}
	if out, err := exec.Command("tar").Output(); err != nil || strings.TrimSpace(string(out)) != "our tar" {
		t.Errorf("a host without tar: %q, %v", out, err)
	}
}

// With a CRIU of its own the host loses ours again.
func TestInstallCRIUHostGrew(t *testing.T) {
	h := hostWith(t, "")
	if _, err := h.InstallCRIU(writeBundle(t, "4.2.1"), FromHost); err != nil {
		t.Fatal(err)
	}
	grown := hostWith(t, "4.4", "tar")
	grown.Dir = h.Dir
	if from, err := grown.InstallCRIU(writeBundle(t, "4.2.1"), FromHost); err != nil || from != FromHost {
		t.Fatalf("from %s, %v", from, err)
	}
	for _, pattern := range []string{"criu/*", "bin/*", "spare/*"} {
		if left, _ := filepath.Glob(filepath.Join(h.Dir, pattern)); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

func TestInstallCRIUErrors(t *testing.T) {
	evil := filepath.Join(t.TempDir(), "evil.tar")
	f, err := os.Create(evil)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(f)
	w.WriteHeader(&tar.Header{Name: "../criu", Mode: 0o755, Size: 0})
	w.Close()
	f.Close()
	cut := writeBundle(t, "4.2.1")
	if err := os.Truncate(cut, 550); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ bundle, want string }{
		"no bundle": {"", "no such file"},
		"outside":   {evil, "../criu is no file inside it"},
		"cut short": {cut, "unexpected EOF"},
	} {
		h := hostWith(t, "")
		if _, err := h.InstallCRIU(c.bundle, FromHost); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}
