package main

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func pointer[T any](value T) *T { return &value }

// statefulSet builds what every program builds in the reconcile benchmark.
func statefulSet(pipeline *EtlPipeline) *appsv1.StatefulSet {
	name := pipeline.Name
	labels := map[string]string{"app.kubernetes.io/name": "etl-router", "app.kubernetes.io/instance": name}
	replicas := int32(0)
	if pipeline.Spec.Enabled {
		replicas = 3
	}
	probe := func() *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 50051}},
			PeriodSeconds:    10,
			TimeoutSeconds:   2,
			SuccessThreshold: 1,
			FailureThreshold: 3,
		}
	}
	container := corev1.Container{
		Name:  "router",
		Image: "etl-router:1.0.0",
		Args:  []string{"--config", "/etc/etl-router/config.yaml"},
		Ports: []corev1.ContainerPort{
			{Name: "grpc", ContainerPort: 50051, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: 9090, Protocol: corev1.ProtocolTCP},
		},
		Env: []corev1.EnvVar{
			{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"},
			}},
			{Name: "CLUSTER", Value: name},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("512Mi")},
			Limits:   corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("2Gi")},
		},
		ReadinessProbe: probe(),
		LivenessProbe:  probe(),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "data", MountPath: "/data"},
			{Name: "config", MountPath: "/etc/etl-router"},
		},
	}
	config := corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name + "-config"},
	}}
	claim := corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{"storage": resource.MustParse("10Gi")},
			},
		},
	}
	return &appsv1.StatefulSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{
			Name:      name,
			Namespace: pipeline.Namespace,
			Labels:    labels,
			OwnerReferences: []metav1.OwnerReference{
				*metav1.NewControllerRef(pipeline, groupVersion.WithKind("EtlPipeline")),
			},
		},
		Spec: appsv1.StatefulSetSpec{
			Replicas:            pointer(replicas),
			ServiceName:         name + "-headless",
			PodManagementPolicy: appsv1.ParallelPodManagement,
			Selector:            &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					ServiceAccountName:            "etl-router",
					TerminationGracePeriodSeconds: pointer(int64(30)),
					Containers:                    []corev1.Container{container},
					Volumes:                       []corev1.Volume{{Name: "config", VolumeSource: config}},
				},
			},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim},
		},
	}
}

// pipelineBody is what the apply scenario sends: about half a kilobyte of spec.
func pipelineBody(index int) *unstructured.Unstructured {
	number := fmt.Sprint(index % 97)
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "etl.router/v1",
		"kind":       "EtlPipeline",
		"metadata": map[string]any{
			"name":      fmt.Sprintf("bench-%06d", index),
			"namespace": fmt.Sprintf("bench-%d", index%10),
			"labels":    map[string]any{"app.kubernetes.io/managed-by": "bench", "team": "team-" + number},
		},
		"spec": map[string]any{
			"source": "source-" + number,
			"steps":  []any{"filter-active", "enrich-geo"},
			"sink":   "sink-" + number,
			"dlq": map[string]any{
				"enabled":           true,
				"maxRetries":        int64(3),
				"sink":              "dead-letters",
				"retryBackoffMs":    int64(100),
				"maxRetryBackoffMs": int64(30000),
			},
			"enabled":             true,
			"drainTimeoutSeconds": int64(30),
			"deletionPolicy":      "Delete",
		},
	}}
}
