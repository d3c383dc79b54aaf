package keylog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"
)

// signer is fixed: signatures are the same in every run.
var signer = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func sample(serial uint64) (Entry, []byte) {
	key := bytes.Repeat([]byte{byte(serial)}, KeySize)
	return Sign(signer, serial, BootID{0xab, 2, 3}, key), key
}

func TestAnswerLeadsToTheLine(t *testing.T) {
	e, key := sample(42)
	wire, err := json.Marshal(e.Answer(key))
	if err != nil {
		t.Fatal(err)
	}
	var a Answer
	if err := json.Unmarshal(wire, &a); err != nil {
		t.Fatal(err)
	}
	got, err := a.Entry()
	if err != nil {
		t.Fatal(err)
	}
	if got != e {
		t.Errorf("the answer gives %v, the log has %v", got, e)
	}
	if bytes.Contains(e.AppendLine(nil), []byte(a.Key)) {
		t.Error("the line contains the key")
	}
}

func TestSignatureCoversEveryField(t *testing.T) {
	public := signer.Public().(ed25519.PublicKey)
	good, _ := sample(42)
	if !good.Verify(public) {
		t.Fatal("a good signature does not verify")
	}
	for name, change := range map[string]func(*Entry){
		"serial":    func(e *Entry) { e.Serial++ },
		"boot":      func(e *Entry) { e.Boot[15] ^= 1 },
		"digest":    func(e *Entry) { e.Digest[0] ^= 1 },
		"signature": func(e *Entry) { e.Signature[9] ^= 1 },
	} {
		bad := good
		change(&bad)
		if bad.Verify(public) {
			t.Errorf("verifies with another %s", name)
		}
	}
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	if good.Verify(other) {
		t.Error("verifies with another key")
	}
}

func TestRead(t *testing.T) {
	var log []byte
	for s := range uint64(3) {
		e, _ := sample(s + 1)
		log = e.AppendLine(log)
	}
	lines := strings.SplitAfter(string(log), "\n")
	for _, tt := range []struct {
		name, log string
		entries   int
		torn      bool
		err       string
	}{
		{"empty", "", 0, false, ""},
		{"whole", string(log), 3, false, ""},
		{"torn last line", string(log[:len(log)-20]), 2, true, ""},
		{"newline lost", string(log[:len(log)-1]), 2, true, ""},
		{"short line inside", lines[0] + "1 2 3\n" + lines[2], 1, false, "line 2: 3 fields"},
		{"other format", "2" + lines[0][1:], 0, false, `line 1: format "2"`},
		{"serial with sign", strings.Replace(lines[0], "1 1 ", "1 +1 ", 1), 0, false, "line 1: serial"},
		{"upper-case boot id", strings.Replace(lines[0], " ab", " AB", 1), 0, false, "line 1: boot id"},
		{"signature cut", lines[0][:len(lines[0])-3] + "\n", 0, false, "line 1: signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			entries, torn, err := Read(strings.NewReader(tt.log))
			if len(entries) != tt.entries || torn != tt.torn {
				t.Errorf("%d entries, torn %v; want %d, %v", len(entries), torn, tt.entries, tt.torn)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestPEM(t *testing.T) {
	text, err := FormatSigning(signer)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseSigning(text)
	if err != nil || !back.Equal(signer) {
		t.Errorf("signing key: %v", err)
	}
	if _, err := ParsePublic(text); err == nil {
		t.Error("a signing key was read as a public one")
	}
	text, err = FormatPublic(signer.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	public, err := ParsePublic(text)
	if err != nil || !public.Equal(signer.Public()) {
		t.Errorf("public key: %v", err)
	}
	if _, err := ParseSigning(text); err == nil {
		t.Error("a public key was read as a signing one")
	}
}

func FuzzParseLine(f *testing.F) {
	e, _ := sample(1)
	f.Add(strings.TrimSuffix(string(e.AppendLine(nil)), "\n"))
	f.Add("1 1 a b c")
	f.Add("")
	f.Fuzz(func(t *testing.T, line string) {
		e, err := ParseLine(line)
		if err == nil && string(e.AppendLine(nil)) != line+"\n" {
			t.Errorf("%q is read but written as %q", line, e.AppendLine(nil))
		}
	})
}

func FuzzAnswer(f *testing.F) {
	e, key := sample(1)
	a := e.Answer(key)
	f.Add(a.Serial, a.BootID, a.Key, a.Signature)
	f.Add(uint64(0), "", "", "")
	f.Fuzz(func(t *testing.T, serial uint64, boot, key, signature string) {
		a := Answer{serial, boot, key, signature}
		e, err := a.Entry()
		if err != nil {
			return
		}
		raw, err := b64.DecodeString(key)
		if err != nil {
			t.Fatalf("key %q was accepted: %v", key, err)
		}
		if e.Answer(raw) != a {
			t.Errorf("%v is read but answered as %v", a, e.Answer(raw))
		}
	})
}

func FuzzPEM(f *testing.F) {
	text, err := FormatSigning(signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	text, err = FormatPublic(signer.Public().(ed25519.PublicKey))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := ParseSigning(text); err == nil && len(key) != ed25519.PrivateKeySize {
			t.Errorf("signing key of %d bytes", len(key))
		}
		if key, err := ParsePublic(text); err == nil && len(key) != ed25519.PublicKeySize {
			t.Errorf("public key of %d bytes", len(key))
		}
	})
}
