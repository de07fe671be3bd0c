//go:build ignore

// Writes how Kubernetes' Go types put the built-in kinds into JSON: which fields are left out when they
// are zero, which hold quantities, times or bytes. Run by make.py.
package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	certificates "k8s.io/api/certificates/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	flowcontrol "k8s.io/api/flowcontrol/v1"
	networking "k8s.io/api/networking/v1"
	node "k8s.io/api/node/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	resource "k8s.io/api/resource/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	storagemigration "k8s.io/api/storagemigration/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

var kinds = map[string][]any{
	"": {
		core.ComponentStatus{}, core.ConfigMap{}, core.Endpoints{}, core.Event{}, core.LimitRange{}, core.Namespace{}, core.Node{},
		core.PersistentVolume{}, core.PersistentVolumeClaim{}, core.Pod{}, core.PodTemplate{},
		core.ReplicationController{}, core.ResourceQuota{}, core.Secret{}, core.Service{},
		core.ServiceAccount{},
	},
	"apps": {
		apps.ControllerRevision{}, apps.DaemonSet{}, apps.Deployment{}, apps.ReplicaSet{}, apps.StatefulSet{},
	},
	"admissionregistration.k8s.io": {
		admissionregistration.MutatingAdmissionPolicy{}, admissionregistration.MutatingAdmissionPolicyBinding{},
		admissionregistration.MutatingWebhookConfiguration{},
		admissionregistration.ValidatingAdmissionPolicy{},
		admissionregistration.ValidatingAdmissionPolicyBinding{},
		admissionregistration.ValidatingWebhookConfiguration{},
	},
	"apiextensions.k8s.io":   {apiextensions.CustomResourceDefinition{}},
	"apiregistration.k8s.io": {apiregistration.APIService{}},
	"autoscaling":            {autoscaling.HorizontalPodAutoscaler{}},
	"autoscaling/v1":         {autoscalingv1.HorizontalPodAutoscaler{}},
	"batch":                  {batch.CronJob{}, batch.Job{}},
	"certificates.k8s.io": {
		certificates.CertificateSigningRequest{}, certificates.ClusterTrustBundle{},
		certificates.PodCertificateRequest{},
	},
	"coordination.k8s.io":          {coordination.Lease{}},
	"discovery.k8s.io":             {discovery.EndpointSlice{}},
	"events.k8s.io":                {events.Event{}},
	"flowcontrol.apiserver.k8s.io": {flowcontrol.FlowSchema{}, flowcontrol.PriorityLevelConfiguration{}},
	"networking.k8s.io": {
		networking.IPAddress{}, networking.Ingress{}, networking.IngressClass{}, networking.NetworkPolicy{},
		networking.ServiceCIDR{},
	},
	"node.k8s.io":               {node.RuntimeClass{}},
	"policy":                    {policy.PodDisruptionBudget{}},
	"rbac.authorization.k8s.io": {rbac.ClusterRole{}, rbac.ClusterRoleBinding{}, rbac.Role{}, rbac.RoleBinding{}},
	"resource.k8s.io": {
		resource.DeviceClass{}, resource.DeviceTaintRule{}, resource.ResourceClaim{},
		resource.ResourceClaimTemplate{}, resource.ResourceSlice{},
	},
	"scheduling.k8s.io": {scheduling.PriorityClass{}},
	"storage.k8s.io": {
		storage.CSIDriver{}, storage.CSINode{}, storage.CSIStorageCapacity{}, storage.StorageClass{},
		storage.VolumeAttachment{}, storage.VolumeAttributesClass{},
	},
	"storagemigration.k8s.io": {storagemigration.StorageVersionMigration{}},
}

// Types with a JSON form of their own.
var special = map[string]string{
	"resource.Quantity": "quantity", "v1.Time": "time", "v1.MicroTime": "microtime", "v1.Duration": "raw",
	"intstr.IntOrString": "raw", "runtime.RawExtension": "raw", "v1.FieldsV1": "raw", "v1.JSON": "raw",
	"v1.JSONSchemaPropsOrArray": "raw", "v1.JSONSchemaPropsOrBool": "raw",
	"v1.JSONSchemaPropsOrStringArray": "raw",
}

var structs = map[string]map[string]string{}

// A type is written as a scalar, "[]T", "{}T", "*T", or the name of a struct.
func spelled(t reflect.Type) string {
	if name, ok := special[t.String()]; ok {
		return name
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + spelled(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + spelled(t.Elem())
	case reflect.Map:
		return "{}" + spelled(t.Elem())
	case reflect.Struct:
		return ofStruct(t)
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	}
	return t.Kind().String()
}

func ofStruct(t reflect.Type) string {
	path := strings.Split(t.PkgPath(), "/")
	name := strings.Join(path[len(path)-2:], ".") + "." + t.Name()
	if structs[name] == nil {
		structs[name] = map[string]string{}
		collect(t, structs[name])
	}
	return name
}

// A field that is written even when it is zero is marked with "!".
func collect(t reflect.Type, fields map[string]string) {
	for i := 0; i < t.NumField(); i++ {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || field.Name == "TypeMeta":
		case name == "":
			collect(field.Type, fields)
		case strings.Contains(options, "omit"):
			fields[name] = spelled(field.Type)
		default:
			fields[name] = "!" + spelled(field.Type)
		}
	}
}

func main() {
	roots := map[string]string{}
	for group, objects := range kinds {
		for _, object := range objects {
			t := reflect.TypeOf(object)
			roots[group+"/"+t.Name()] = ofStruct(t)
		}
	}
	out := map[string]any{"kinds": roots, "structs": structs}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}
