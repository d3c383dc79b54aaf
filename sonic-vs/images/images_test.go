package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"sonic-netservices/sonic-vs/vswitch"
	"sonic-netservices/sonic-vs/vswitch/manifest"
)

const goodManifest = `{"package":{"name":"mig-agent","version":"0.1.0","depends":["database>=1.0.0"]},"service":{"name":"mig-agent"}}`

// save makes a tarball as docker save does; config is the path of the configuration in it.
func save(tags []string, config string, image any) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	text, _ := json.Marshal(image)
	index, _ := json.Marshal([]map[string]any{{"Config": config, "RepoTags": tags, "Layers": []string{}}})
	for name, text := range map[string][]byte{config: text, "manifest.json": index} {
		t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		t.Write(text)
	}
	t.Close()
	return b.Bytes()
}

func config(manifestText string) map[string]any {
	return map[string]any{"config": map[string]any{
		"Labels": map[string]string{manifest.Label: manifestText}, "Entrypoint": []string{"/mig-agent"}}}
}

func compress(text []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(text)
	z.Close()
	return b.Bytes()
}

func TestReadTarball(t *testing.T) {
	image := config(goodManifest)
	text, _ := json.Marshal(image)
	sum := sha256.Sum256(text)
	tags := []string{"mig-agent:0.1.0"}
	for name, tarball := range map[string][]byte{
		"older layout": save(tags, "abc.json", image),
		"OCI layout":   save(tags, "blobs/sha256/abc", image),
		"gzip":         compress(save(tags, "abc.json", image)),
	} {
		got, err := ReadTarball(bytes.NewReader(tarball))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.ID != "sha256:"+hex.EncodeToString(sum[:]) || got.Tag != tags[0] || got.Manifest.Service.Name != "mig-agent" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestReadTarballErrors(t *testing.T) {
	good := []string{"mig-agent:0.1.0"}
	noEntry := config(goodManifest)
	delete(noEntry["config"].(map[string]any), "Entrypoint")
	for _, c := range []struct {
		name    string
		tarball []byte
		want    string
	}{
		{"no tarball", []byte("text"), "read tarball"},
		{"empty", nil, "manifest.json"},
		{"two tags", save([]string{"a:1", "b:1"}, "c.json", config(goodManifest)), "one image with one tag"},
		{"registry port", save([]string{"host:5000/a:1"}, "c.json", config(goodManifest)), "want REPOSITORY:VERSION"},
		{"no label", save(good, "c.json", map[string]any{"config": map[string]any{"Entrypoint": []string{"/a"}}}), "no label com.azure.sonic.manifest"},
		{"no entrypoint", save(good, "c.json", noEntry), "neither entrypoint nor command"},
		{"unknown key", save(good, "c.json", config(strings.Replace(goodManifest, `"service"`, `"colour":1,"service"`, 1))), "colour: unknown key"},
		{"cut short", save(good, "c.json", config(goodManifest))[:560], "read tarball"},
	} {
		if _, err := ReadTarball(bytes.NewReader(c.tarball)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
	}
}

func FuzzReadTarball(f *testing.F) {
	tarball := save([]string{"mig-agent:0.1.0"}, "c.json", config(goodManifest))
	f.Add(tarball)
	f.Add(compress(tarball))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ReadTarball(bytes.NewReader(text))
		if err == nil && (got.Manifest.Service.Name == "" || strings.Count(got.Tag, ":") != 1) {
			t.Errorf("accepted %+v", got)
		}
	})
}

// The stage that is cut out holds nothing of its neighbours, and every feature has one.
func TestStage(t *testing.T) {
	text, err := os.ReadFile("../../containers/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mig-agent", "bt-manager"} {
		got, err := stage(string(text), name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(got, "FROM") != 1 || !strings.Contains(got, fmt.Sprintf("COPY %s /%s\n", name, name)) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	if _, err := stage(string(text), "agent"); err == nil {
		t.Error("found a target that is not there")
	}
}

// The cache's key follows everything that goes into the image.
func TestKey(t *testing.T) {
	base := source{name: "a", tag: "a:1", dockerfile: "FROM scratch", manifest: "{}", binary: []byte("x")}
	keys := map[string]string{base.key(): "base"}
	for what, change := range map[string]func(*source){
		"tag":        func(s *source) { s.tag = "a:2" },
		"dockerfile": func(s *source) { s.dockerfile += "\n" },
		"manifest":   func(s *source) { s.manifest = "" },
		"binary":     func(s *source) { s.binary = []byte("y") },
		"border":     func(s *source) { s.manifest, s.binary = "{}x", nil },
	} {
		s := base
		change(&s)
		if other, ok := keys[s.key()]; ok {
			t.Errorf("%s has the key of %s", what, other)
		}
		keys[s.key()] = what
	}
}

func TestCheck(t *testing.T) {
	m, err := manifest.Parse([]byte(goodManifest))
	if err != nil {
		t.Fatal(err)
	}
	tarball := Tarball{ID: "sha256:new", Tag: "mig-agent:0.1.0", Manifest: m}
	if err := check(tarball, nil); err != nil {
		t.Error(err)
	}
	if err := check(tarball, map[string]vswitch.Package{"mig-agent": {ImageID: "sha256:new"}}); err != nil {
		t.Errorf("the same image again: %v", err)
	}
	if err := check(tarball, map[string]vswitch.Package{"mig-agent": {ImageID: "sha256:old"}}); err == nil {
		t.Error("another image over an installed one")
	}
	tarball.Manifest.Package.Depends = []string{"snmp"}
	if err := check(tarball, nil); err == nil || !strings.Contains(err.Error(), "snmp") {
		t.Errorf("missing dependency: %v", err)
	}
}
