// Writes, for every Go type of the Kubernetes API, how each JSON field is held: what no schema says and what the JSON of the real server depends on.
//
// Run in a module that requires k8s.io/kubernetes: `go run ./cmd/facts > go.json`. One letter per field:
// "p" left out when nil (pointer, slice, map); "v" left out when zero (omitempty or omitzero on a value); "r" always written (a value);
// "s" a struct held by value, always written; "n" a nil that is written as null (pointer, slice, map or time without omitempty).
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

var facts = map[string]map[string]string{}

func name(t reflect.Type) string {
	path := strings.TrimPrefix(t.PkgPath(), "k8s.io/")
	path = strings.ReplaceAll(strings.TrimPrefix(path, "apimachinery/"), "/", ".")
	switch {
	case strings.HasPrefix(path, "api."):
		return "io.k8s." + path + "." + t.Name()
	case strings.HasPrefix(path, "pkg."):
		return "io.k8s.apimachinery." + path + "." + t.Name()
	}
	return ""
}

func walk(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		walk(t.Elem())
		return
	case reflect.Struct:
	default:
		return
	}
	n := name(t)
	if n == "" || facts[n] != nil {
		return
	}
	facts[n] = map[string]string{}
	fields(n, t)
}

func fields(n string, t reflect.Type) {
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		tag := strings.Split(f.Tag.Get("json"), ",")
		if tag[0] == "-" {
			continue
		}
		opts := strings.Join(tag[1:], ",")
		if f.Anonymous && tag[0] == "" || strings.Contains(opts, "inline") {
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				fields(n, ft)
				continue
			}
		}
		walk(f.Type)
		empty, zero := strings.Contains(opts, "omitempty"), strings.Contains(opts, "omitzero")
		class := "r"
		switch f.Type.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			if empty || zero {
				class = "p"
			} else {
				class = "n"
			}
		case reflect.Struct:
			switch {
			case zero:
				class = "v"
			case f.Type == reflect.TypeOf(metav1.Time{}) || f.Type == reflect.TypeOf(metav1.MicroTime{}):
				class = "n"
			default:
				class = "s"
			}
		default:
			if empty || zero {
				class = "v"
			}
		}
		facts[n][tag[0]] = class
	}
}

func main() {
	for _, t := range scheme.Scheme.AllKnownTypes() {
		walk(t)
	}
	json.NewEncoder(os.Stdout).Encode(facts)
}
