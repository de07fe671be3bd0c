package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var groupVersion = schema.GroupVersion{Group: "etl.router", Version: "v1"}

// DeadLetterQueue says where records go that cannot be processed.
type DeadLetterQueue struct {
	Enabled           bool   `json:"enabled,omitempty"`
	MaxRetries        int    `json:"maxRetries,omitempty"`
	Sink              string `json:"sink,omitempty"`
	RetryBackoffMs    int    `json:"retryBackoffMs,omitempty"`
	MaxRetryBackoffMs int    `json:"maxRetryBackoffMs,omitempty"`
}

// EtlPipelineSpec is the pipeline that is wanted.
type EtlPipelineSpec struct {
	Source              string           `json:"source"`
	Steps               []string         `json:"steps,omitempty"`
	Sink                string           `json:"sink"`
	DLQ                 *DeadLetterQueue `json:"dlq,omitempty"`
	Enabled             bool             `json:"enabled"`
	DrainTimeoutSeconds int              `json:"drainTimeoutSeconds,omitempty"`
	DeletionPolicy      string           `json:"deletionPolicy,omitempty"`
}

// EtlPipelineStatus is the pipeline as it is.
type EtlPipelineStatus struct {
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Phase              string             `json:"phase,omitempty"`
	PipelineID         string             `json:"pipelineId,omitempty"`
	SpecHash           string             `json:"specHash,omitempty"`
	Version            int64              `json:"version,omitempty"`
}

// EtlPipeline is the custom resource of the benchmark.
type EtlPipeline struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   EtlPipelineSpec   `json:"spec,omitempty"`
	Status EtlPipelineStatus `json:"status,omitempty"`
}

// EtlPipelineList is a list of them.
type EtlPipelineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []EtlPipeline `json:"items"`
}

// DeepCopyInto copies as generated code would.
func (in *EtlPipeline) DeepCopyInto(out *EtlPipeline) {
	*out = *in
	in.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	if in.Spec.Steps != nil {
		out.Spec.Steps = append([]string(nil), in.Spec.Steps...)
	}
	if in.Spec.DLQ != nil {
		queue := *in.Spec.DLQ
		out.Spec.DLQ = &queue
	}
	if in.Status.Conditions != nil {
		out.Status.Conditions = make([]metav1.Condition, len(in.Status.Conditions))
		for i := range in.Status.Conditions {
			in.Status.Conditions[i].DeepCopyInto(&out.Status.Conditions[i])
		}
	}
}

// DeepCopyObject implements runtime.Object.
func (in *EtlPipeline) DeepCopyObject() runtime.Object {
	out := new(EtlPipeline)
	in.DeepCopyInto(out)
	return out
}

// DeepCopyObject implements runtime.Object.
func (in *EtlPipelineList) DeepCopyObject() runtime.Object {
	out := new(EtlPipelineList)
	out.TypeMeta = in.TypeMeta
	in.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = make([]EtlPipeline, len(in.Items))
	for i := range in.Items {
		in.Items[i].DeepCopyInto(&out.Items[i])
	}
	return out
}
