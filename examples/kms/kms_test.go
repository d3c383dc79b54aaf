package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"sonic-netservices/examples/kms/keylog"
)

func open(t *testing.T, dir string) *Issuer {
	t.Helper()
	signer, err := LoadSigning(filepath.Join(dir, "signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	i, err := OpenIssuer(filepath.Join(dir, "keys.log"), signer, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func issue(t *testing.T, i *Issuer) keylog.Entry {
	t.Helper()
	a, err := i.Issue("test")
	if err != nil {
		t.Fatal(err)
	}
	e, err := a.Entry()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func entries(t *testing.T, dir string) []keylog.Entry {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "keys.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, torn, err := keylog.Read(f)
	if err != nil || torn {
		t.Fatalf("log: torn %v, %v", torn, err)
	}
	return all
}

func TestEveryAnswerIsSignedAndLogged(t *testing.T) {
	dir := t.TempDir()
	i := open(t, dir)
	const clients, each = 8, 25
	var mu sync.Mutex
	answered := map[uint64]keylog.Entry{}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				a, err := i.Issue("test")
				if err != nil {
					t.Error(err)
					return
				}
				e, err := a.Entry()
				if err != nil || !e.Verify(i.Public()) {
					t.Errorf("answer %v does not verify (%v)", a, err)
				}
				mu.Lock()
				answered[e.Serial] = e
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	log := entries(t, dir)
	if len(log) != clients*each || len(answered) != clients*each {
		t.Fatalf("%d lines, %d serials answered, want %d", len(log), len(answered), clients*each)
	}
	for n, e := range log {
		if e.Serial != uint64(n+1) || e != answered[e.Serial] {
			t.Fatalf("line %d: %v, answered %v", n+1, e, answered[e.Serial])
		}
	}
}

func TestRestartContinuesWithANewBoot(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	for range 100 { // longer than what is read back
		issue(t, first)
	}
	second := open(t, dir)
	if !second.Public().Equal(first.Public()) {
		t.Error("another signing key")
	}
	e := issue(t, second)
	if e.Serial != 101 {
		t.Errorf("serial %d after 100", e.Serial)
	}
	if e.Boot == first.Boot() {
		t.Error("the boot id survived a restart")
	}
}

func TestTornLineIsCutOff(t *testing.T) {
	dir := t.TempDir()
	i := open(t, dir)
	issue(t, i)
	issue(t, i)
	path := filepath.Join(dir, "keys.log")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{1, 50} {
		if err := os.WriteFile(path, whole[:len(whole)-cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if e := issue(t, open(t, dir)); e.Serial != 2 {
			t.Errorf("%d bytes lost: serial %d, want 2", cut, e.Serial)
		}
		if log := entries(t, dir); len(log) != 2 {
			t.Errorf("%d bytes lost: %d lines, want 2", cut, len(log))
		}
	}
}

func TestDamagedLogRefusesToStart(t *testing.T) {
	for _, log := range []string{"not a key\n", strings.Repeat("x", 10_000)} {
		path := filepath.Join(t.TempDir(), "keys.log")
		if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenIssuer(path, nil, 1); err == nil {
			t.Errorf("started on %.20q: serials would begin again", log)
		}
	}
}

// A volume of one page is full after a few keys, in the middle of a line.
func TestFullVolumeUsesNoSerial(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("kms", dir, "tmpfs", 0, "nr_blocks=2"); err != nil {
		t.Skip("no tmpfs can be mounted: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	i := open(t, dir)
	t.Cleanup(func() { i.Close() })
	var last uint64
	var err error
	for err == nil {
		var a keylog.Answer
		if a, err = i.Issue("test"); err == nil {
			last = a.Serial
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	srv := httptest.NewServer(Handler(i))
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/key")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d on a full volume", resp.StatusCode)
	}
	if log := entries(t, dir); uint64(len(log)) != last || last == 0 {
		t.Errorf("%d whole lines, %d keys answered", len(log), last)
	}
	if err := syscall.Mount("kms", dir, "tmpfs", syscall.MS_REMOUNT, "nr_blocks=4"); err != nil {
		t.Fatal(err)
	}
	if e := issue(t, i); e.Serial != last+1 {
		t.Errorf("serial %d after %d: an error used one up", e.Serial, last)
	}
}

func TestHTTP(t *testing.T) {
	i := open(t, t.TempDir())
	srv := httptest.NewServer(Handler(i))
	defer srv.Close()
	for _, tt := range []struct {
		method, path string
		status       int
		keys         uint64 // issued afterwards
	}{
		{"GET", "/healthz", 200, 0},
		{"GET", "/pubkey", 200, 0},
		{"GET", "/key?client=a", 200, 1},
		{"POST", "/key?client=a", 200, 2},
		{"DELETE", "/key", 405, 2},
		{"GET", "/key?client=" + strings.Repeat("a", 257), 400, 2},
		{"GET", "/other", 404, 2},
	} {
		req, err := http.NewRequest(tt.method, srv.URL+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != tt.status || i.Serial() != tt.keys {
			t.Errorf("%s %.20s: status %d, %d keys; want %d, %d", tt.method, tt.path, resp.StatusCode, i.Serial(), tt.status, tt.keys)
		}
		switch {
		case tt.path == "/pubkey":
			if public, err := keylog.ParsePublic(body); err != nil || !public.Equal(i.Public()) {
				t.Errorf("public key: %v", err)
			}
		case tt.status == 200 && strings.HasPrefix(tt.path, "/key"):
			var a keylog.Answer
			if err := json.Unmarshal(body, &a); err != nil {
				t.Fatal(err)
			}
			if e, err := a.Entry(); err != nil || !e.Verify(i.Public()) {
				t.Errorf("answer %s does not verify (%v)", body, err)
			}
		}
	}
}

// The request is in the handler when the service is told to stop; it is answered all the same.
func TestServeFinishesOpenRequests(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stop()
		for { // until the listener is gone
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				break
			}
			c.Close()
		}
		io.WriteString(w, "late")
	})
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, ln, handler) }()
	resp, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "late" {
		t.Errorf("body %q, %v", body, err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args []string
		env  map[string]string
		want Config
		err  string
	}{
		{nil, nil, Config{":8080", "/data", 10_000, 0}, ""},
		{nil, map[string]string{"KMS_WORK": "7", "KMS_BALLAST_MB": "3"}, Config{":8080", "/data", 7, 3}, ""},
		{[]string{"-work", "9"}, map[string]string{"KMS_WORK": "7"}, Config{":8080", "/data", 9, 0}, ""},
		{nil, map[string]string{"KMS_WORK": "fast"}, Config{}, "KMS_WORK"},
		{nil, map[string]string{"KMS_BALLAST_MB": "-1"}, Config{}, "ballast"},
		{[]string{"-work", "0"}, nil, Config{}, "work"},
		{[]string{"serve"}, nil, Config{}, `"serve"`},
	} {
		got, err := parse(tt.args, func(name string) string { return tt.env[name] })
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v %v: error %v, want %q", tt.args, tt.env, err, tt.err)
			}
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%v %v: %+v, %v", tt.args, tt.env, got, err)
		}
	}
}

func TestBallastIsResident(t *testing.T) {
	b := makeBallast(1)
	zero := 0
	for _, x := range b {
		if x == 0 {
			zero++
		}
	}
	if len(b) != 1<<20 || zero > 2*len(b)/256 {
		t.Errorf("%d bytes, %d zero", len(b), zero)
	}
}
