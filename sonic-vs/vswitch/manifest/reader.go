package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// reader keeps the first error of a document.
type reader struct {
	err error
}

func (r *reader) fail(key, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
	}
}

// object is one JSON object. Each key that is read is ticked off; end reports the rest as unknown.
// null counts as missing, as SONiC's parser has it.
type object struct {
	*reader
	path string
	keys map[string]any
}

func (r *reader) object(path string, v any) *object {
	keys, ok := v.(map[string]any)
	if !ok && v != nil {
		r.fail(strings.TrimSuffix(path, "."), "want an object")
	}
	return &object{r, path, maps.Clone(keys)}
}

func (o *object) fail(key, format string, args ...any) { o.reader.fail(o.path+key, format, args...) }

func (o *object) take(key string) any {
	v := o.keys[key]
	delete(o.keys, key)
	return v
}

// end reports the first key nobody read.
func (o *object) end() {
	for _, key := range slices.Sorted(maps.Keys(o.keys)) {
		o.fail(key, "unknown key")
	}
}

func (o *object) child(key string) *object { return o.reader.object(o.path+key+".", o.take(key)) }

func (o *object) text(key, otherwise string) string {
	switch v := o.take(key).(type) {
	case nil:
		return otherwise
	case string:
		return v
	default:
		o.fail(key, "want text")
		return otherwise
	}
}

func (o *object) required(key string) string {
	s := o.text(key, "")
	if s == "" {
		o.fail(key, "is required")
	}
	return s
}

func (o *object) flag(key string, otherwise bool) bool {
	switch v := o.take(key).(type) {
	case nil:
		return otherwise
	case bool:
		return v
	default:
		o.fail(key, "want true or false")
		return otherwise
	}
}

func (o *object) array(key string) []any {
	switch v := o.take(key).(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		o.fail(key, "want a list")
		return nil
	}
}

func (o *object) list(key string) []string {
	var out []string
	for i, v := range o.array(key) {
		s, ok := v.(string)
		if !ok || s == "" {
			o.fail(fmt.Sprintf("%s[%d]", key, i), "want text that is not empty")
		}
		out = append(out, s)
	}
	return out
}

// paths reads files in the image: a list, or one text. The empty text, which the build system's own template writes,
// breaks an install on a real switch.
func (o *object) paths(key string) []string {
	if s, ok := o.keys[key].(string); ok {
		o.keys[key] = []any{s}
	}
	files := o.list(key)
	for i, f := range files {
		if !strings.HasPrefix(f, "/") {
			o.fail(fmt.Sprintf("%s[%d]", key, i), "%q: want an absolute path", f)
		}
	}
	return files
}

func (o *object) objects(key string) []*object {
	var out []*object
	for i, v := range o.array(key) {
		path := fmt.Sprintf("%s%s[%d].", o.path, key, i)
		if v == nil {
			o.reader.fail(strings.TrimSuffix(path, "."), "want an object")
		}
		out = append(out, o.reader.object(path, v))
	}
	return out
}

func (o *object) free(key string) map[string]any {
	return o.child(key).keys
}

func (o *object) texts(key string) map[string]string {
	c := o.child(key)
	var out map[string]string
	for _, k := range slices.Sorted(maps.Keys(c.keys)) {
		if out == nil {
			out = map[string]string{}
		}
		out[k] = c.text(k, "")
	}
	return out
}

// scalars reads an environment: values may be numbers and booleans too. They are pasted unquoted into a command line by
// SONiC, so a space would begin another option.
func (o *object) scalars(key string) map[string]string {
	c := o.child(key)
	var out map[string]string
	for _, k := range slices.Sorted(maps.Keys(c.keys)) {
		var s string
		switch v := c.take(k).(type) {
		case string:
			s = v
		case bool:
			s = strconv.FormatBool(v)
		case float64:
			s = strconv.FormatFloat(v, 'f', -1, 64)
		default:
			c.fail(k, "want text, number or true/false")
		}
		if strings.ContainsAny(k+s, " \t\n\"'`$\\") {
			c.fail(k, "%q: SONiC does not quote it; want no spaces, quotes, $ or \\", s)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = s
	}
	return out
}

// dependencies reads "name", "name>=1.0.0,<2.0.0" or {name, version}; the latter is returned in the short form.
func (o *object) dependencies(key string) []string {
	var out []string
	for i, v := range o.array(key) {
		at := fmt.Sprintf("%s[%d]", key, i)
		s, isText := v.(string)
		if !isText {
			d := o.reader.object(o.path+at+".", v)
			s = d.required("name") + d.text("version", "")
			d.texts("components")
			d.end()
		}
		if _, _, err := splitDependency(s); err != nil {
			o.fail(at, "%v", err)
		}
		out = append(out, s)
	}
	return out
}

var (
	semverText     = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	nameText       = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	digitsText     = regexp.MustCompile(`^[0-9]+$`)
	constraintText = regexp.MustCompile(`^(>=|<=|==|!=|>|<|=|\^|~)?[0-9]+(\.[0-9]+){0,2}$`)
	volumeText     = regexp.MustCompile(`^/[^:\s]*:/[^:\s]*(:[a-z,]+)?$`)
)

func semver(s string) bool { return semverText.MatchString(s) }
func name(s string) bool   { return nameText.MatchString(s) }
func digits(s string) bool { return digitsText.MatchString(s) }
func volume(s string) bool { return volumeText.MatchString(s) }

func splitDependency(s string) (pkg string, constraints []string, err error) {
	i := strings.IndexAny(s, "<>=!^~")
	if i < 0 {
		i = len(s)
	}
	pkg = s[:i]
	if !name(pkg) {
		return "", nil, fmt.Errorf("%q: want NAME or NAME>=VERSION, without spaces", s)
	}
	if i == len(s) {
		return pkg, nil, nil
	}
	for c := range strings.SplitSeq(s[i:], ",") {
		if !constraintText.MatchString(c) {
			return "", nil, fmt.Errorf("%q: %q is not a version constraint", s, c)
		}
		constraints = append(constraints, c)
	}
	return pkg, constraints, nil
}
