// The controller-runtime side of the benchmark: SCENARIO --objects N --events N --rounds N --settle SECONDS,
// access from KUBECONFIG, JSON lines on standard output.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	sentAnnotation     = "bench.etl.router/sent"
	sequenceAnnotation = "bench.etl.router/seq"
	workers            = 4
	concurrency        = 8
)

type options struct {
	objects, events, rounds int
	settle                  float64
}

type bench struct {
	options
	config *rest.Config
	scheme *runtime.Scheme
	mgr    ctrl.Manager
	begun  meter
}

func main() {
	flags := flag.NewFlagSet("peer", flag.ExitOnError)
	var given options
	flags.IntVar(&given.objects, "objects", 0, "objects of each kind in the stub")
	flags.IntVar(&given.events, "events", 0, "events that will come, or requests to make")
	flags.IntVar(&given.rounds, "rounds", 0, "times every key is reconciled")
	flags.Bool("paged", false, "list in pages; decided by the environment and the stub")
	flags.Float64Var(&given.settle, "settle", 0, "seconds to be idle before memory is read")
	must(flags.Parse(os.Args[2:]))
	ctrl.SetLogger(logr.Discard())

	b := &bench{options: given, config: ctrl.GetConfigOrDie(), scheme: runtime.NewScheme()}
	b.config.QPS = -1
	must(clientgoscheme.AddToScheme(b.scheme))
	b.scheme.AddKnownTypes(groupVersion, &EtlPipeline{}, &EtlPipelineList{})
	metav1.AddToGroupVersion(b.scheme, groupVersion)
	scenarios := map[string]func(){
		"sync": b.sync, "ingest": b.ingest, "latency": b.latency, "apply": b.apply,
		"noop-empty": b.noopEmpty, "noop-build": b.noopBuild,
	}
	scenarios[os.Args[1]]()
}

// must ends the program; a panic would be caught by the controller, which then tries again.
func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

func (b *bench) manager() ctrl.Manager {
	mgr, err := ctrl.NewManager(b.config, ctrl.Options{
		Scheme:                 b.scheme,
		Metrics:                server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
		Cache:                  cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		MapperProvider:         func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper(), nil },
	})
	must(err)
	b.mgr = mgr
	return mgr
}

func mapper() meta.RESTMapper {
	kinds := meta.NewDefaultRESTMapper([]schema.GroupVersion{groupVersion, appsv1.SchemeGroupVersion})
	kinds.Add(groupVersion.WithKind("EtlPipeline"), meta.RESTScopeNamespace)
	kinds.Add(appsv1.SchemeGroupVersion.WithKind("StatefulSet"), meta.RESTScopeNamespace)
	return kinds
}

// run starts the manager and calls work with full caches.
func (b *bench) run(work func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	must(b.mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		say("ready", b.begun.read())
		if b.settle > 0 {
			time.Sleep(time.Duration(b.settle * float64(time.Second)))
			say("settled", b.begun.read())
		}
		work(ctx)
		cancel()
		return nil
	})))
	b.begun = newMeter()
	must(b.mgr.Start(ctx))
}

func (b *bench) informer(obj client.Object) cache.Informer {
	informer, err := b.mgr.GetCache().GetInformer(context.Background(), obj)
	must(err)
	return informer
}

func (b *bench) controller(reconciler reconcile.Reconciler) controller.Controller {
	made, err := controller.New("bench", b.mgr, controller.Options{
		Reconciler: reconciler, MaxConcurrentReconciles: workers,
	})
	must(err)
	return made
}

func (b *bench) watchPipelines(made controller.Controller) {
	enqueue := &handler.TypedEnqueueRequestForObject[*EtlPipeline]{}
	must(made.Watch(source.Kind(b.mgr.GetCache(), &EtlPipeline{}, enqueue)))
}

func (b *bench) sync() {
	b.manager()
	b.informer(&EtlPipeline{})
	b.run(func(context.Context) {})
}

func (b *bench) ingest() {
	b.manager()
	all := make(chan struct{})
	var seen atomic.Int64
	_, err := b.informer(&EtlPipeline{}).AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		UpdateFunc: func(any, any) {
			if seen.Add(1) == int64(b.events) {
				close(all)
			}
		},
	})
	must(err)
	b.watchPipelines(b.controller(reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
		return reconcile.Result{}, nil
	})))
	b.run(func(context.Context) {
		began := newMeter()
		<-all
		result := began.read()
		result["events"] = seen.Load()
		say("result", result)
	})
}

func (b *bench) latency() {
	reader := b.manager().GetClient()
	done := make(chan struct{})
	last := strconv.Itoa(b.events)
	var guard sync.Mutex
	var nanoseconds []int64
	b.watchPipelines(b.controller(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		var pipeline EtlPipeline
		if err := reader.Get(ctx, request.NamespacedName, &pipeline); err != nil {
			return reconcile.Result{}, err
		}
		sent, err := strconv.ParseInt(pipeline.Annotations[sentAnnotation], 10, 64)
		if err == nil && sent > 0 {
			now := monotonic()
			guard.Lock()
			nanoseconds = append(nanoseconds, now-sent)
			guard.Unlock()
			if pipeline.Annotations[sequenceAnnotation] == last {
				close(done)
			}
		}
		return reconcile.Result{}, err
	})))
	b.run(func(context.Context) {
		began := newMeter()
		<-done
		result := began.read()
		result["nanoseconds"] = nanoseconds
		say("result", result)
	})
}

func (b *bench) noopEmpty() {
	b.manager()
	b.informer(&EtlPipeline{})
	b.again(func(context.Context, reconcile.Request) error { return nil })
}

func (b *bench) noopBuild() {
	reader := b.manager().GetClient()
	b.informer(&EtlPipeline{})
	b.informer(&appsv1.StatefulSet{})
	b.again(func(ctx context.Context, request reconcile.Request) error {
		var pipeline EtlPipeline
		if err := reader.Get(ctx, request.NamespacedName, &pipeline); err != nil {
			return err
		}
		var observed appsv1.StatefulSet
		if err := reader.Get(ctx, request.NamespacedName, &observed); err != nil {
			return err
		}
		desired := statefulSet(&pipeline)
		if !equality.Semantic.DeepDerivative(desired.Spec, observed.Spec) ||
			!equality.Semantic.DeepDerivative(desired.Labels, observed.Labels) ||
			!equality.Semantic.DeepDerivative(desired.OwnerReferences, observed.OwnerReferences) {
			fail("%s must be converged", request)
		}
		return nil
	})
}

// again puts every key into the queue, again and again, as fast as it becomes empty.
func (b *bench) again(body func(context.Context, reconcile.Request) error) {
	var count, target atomic.Int64
	reached := make(chan struct{}, 1)
	made := b.controller(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		must(body(ctx, request))
		if count.Add(1) == target.Load() {
			reached <- struct{}{}
		}
		return reconcile.Result{}, nil
	}))
	var queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	must(made.Watch(source.Func(func(_ context.Context, given workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue = given
		return nil
	})))
	b.run(func(ctx context.Context) {
		var list EtlPipelineList
		must(b.mgr.GetClient().List(ctx, &list))
		requests := make([]reconcile.Request, 0, len(list.Items))
		for i := range list.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
		list = EtlPipelineList{}
		for queue == nil {
			time.Sleep(10 * time.Millisecond)
		}
		var began meter
		for round := 0; round <= b.rounds; round++ {
			if round < 2 {
				// The first round warms up.
				began = newMeter()
			}
			target.Store(count.Load() + int64(len(requests)))
			for _, request := range requests {
				queue.Add(request)
			}
			<-reached
		}
		result := began.read()
		result["reconciles"] = len(requests) * b.rounds
		say("result", result)
	})
}

func (b *bench) apply() {
	writer, err := client.New(b.config, client.Options{Scheme: b.scheme, Mapper: mapper()})
	must(err)
	began := newMeter()
	indexes := make(chan int)
	finished := make(chan struct{})
	for range concurrency {
		go func() {
			for index := range indexes {
				body := pipelineBody(index % b.objects)
				must(writer.Apply(context.Background(), client.ApplyConfigurationFromUnstructured(body),
					client.FieldOwner("bench"), client.ForceOwnership))
			}
			finished <- struct{}{}
		}()
	}
	for index := range b.events {
		indexes <- index
	}
	close(indexes)
	for range concurrency {
		<-finished
	}
	result := began.read()
	result["requests"] = b.events
	say("result", result)
}
