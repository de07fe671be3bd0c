// Prints, as JSON, how the built-in kinds that clients may send are laid out in protobuf.
//
// Kubernetes' protobuf messages are generated from its Go types, so the types' own struct tags are
// the source of truth, and reflection reads them: field numbers, JSON names, and whether a field is a
// pointer. The last one decides about zeros: clients write every non-pointer field, zero or not, and
// only a zero behind a pointer was meant.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a field's value is, by its Go type. Structs that are not listed are messages.
var special = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":       "time",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":  "microtime",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":   "duration",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":   "fields",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":   "quantity",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString": "intorstring",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":    "raw",
}

type field struct {
	name, kind                        string
	pointer, list, inline, dictionary bool
}

var messages = map[string]map[string][]string{}

func main() {
	kinds := map[string]string{}
	for apiVersion, objects := range roots {
		for _, object := range objects {
			t := reflect.TypeOf(object)
			kinds[apiVersion+"/"+t.Name()] = message(t)
		}
	}
	encoder := json.NewEncoder(os.Stdout)
	if err := encoder.Encode(map[string]any{"kinds": kinds, "messages": messages}); err != nil {
		panic(err)
	}
}

var roots = map[string][]any{
	"v1": {
		corev1.Namespace{}, corev1.ConfigMap{}, corev1.Secret{}, corev1.Service{}, corev1.ServiceAccount{},
		corev1.Pod{}, corev1.PersistentVolumeClaim{}, corev1.Node{}, corev1.Event{}, metav1.DeleteOptions{},
	},
	"apps/v1": {
		appsv1.StatefulSet{}, appsv1.Deployment{}, appsv1.ReplicaSet{}, appsv1.ControllerRevision{},
	},
	"authentication.k8s.io/v1": {
		authenticationv1.TokenRequest{}, authenticationv1.TokenReview{}, authenticationv1.SelfSubjectReview{},
	},
	"authorization.k8s.io/v1": {
		authorizationv1.SelfSubjectAccessReview{}, authorizationv1.SelfSubjectRulesReview{},
		authorizationv1.SubjectAccessReview{}, authorizationv1.LocalSubjectAccessReview{},
	},
	"autoscaling/v1":         {autoscalingv1.Scale{}},
	"coordination.k8s.io/v1": {coordinationv1.Lease{}},
	"discovery.k8s.io/v1":    {discoveryv1.EndpointSlice{}},
	"events.k8s.io/v1":       {eventsv1.Event{}},
	"policy/v1":              {policyv1.PodDisruptionBudget{}, policyv1.Eviction{}},
	"rbac.authorization.k8s.io/v1": {
		rbacv1.Role{}, rbacv1.ClusterRole{}, rbacv1.RoleBinding{}, rbacv1.ClusterRoleBinding{},
	},
	"storage.k8s.io/v1": {storagev1.StorageClass{}},
}

// message records a struct's fields by number and returns the name it is filed under.
func message(t reflect.Type) string {
	path := strings.Split(t.PkgPath(), "/")
	name := strings.Join(path[len(path)-2:], ".") + "." + t.Name()
	if _, known := messages[name]; known {
		return name
	}
	fields := map[string][]string{}
	messages[name] = fields
	for i := 0; i < t.NumField(); i++ {
		structField := t.Field(i)
		number := strings.Split(structField.Tag.Get("protobuf"), ",")
		if len(number) < 2 {
			continue
		}
		one := describe(structField)
		fields[number[1]] = []string{one.name, one.kind, flags(one)}
	}
	return name
}

func describe(structField reflect.StructField) field {
	name := strings.Split(structField.Tag.Get("json"), ",")[0]
	one := field{name: name, inline: name == ""}
	t := structField.Type
	if t.Kind() == reflect.Pointer {
		one.pointer = true
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 && t.Name() == "":
		one.list = true
		t = t.Elem()
	case t.Kind() == reflect.Map:
		one.dictionary = true
		t = t.Elem()
	}
	one.kind = kind(t)
	return one
}

func kind(t reflect.Type) string {
	if name, known := special[t.PkgPath()+"."+t.Name()]; known {
		return name
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Int:
		return "int"
	case reflect.Float64:
		return "float"
	case reflect.Struct:
		return message(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		// A named slice such as Verbs or ExtraValue travels as a message with one repeated field.
		return "items:" + kind(t.Elem())
	}
	panic("no protobuf kind for " + t.String() + " " + strconv.Itoa(int(t.Kind())))
}

func flags(one field) string {
	text := ""
	for flag, set := range map[string]bool{"p": one.pointer, "l": one.list, "i": one.inline, "d": one.dictionary} {
		if set {
			text += flag
		}
	}
	return text
}
