"""Talking to the API server: request builders, transport, authentication, the typed client."""

from informers.client.client import Client, Page
from informers.client.contact import Contact
from informers.client.http import HttpTransport
from informers.client.kubeconfig import ClusterAccess, load_default, load_in_cluster, load_kubeconfig
from informers.client.transport import HttpRequest, HttpResponse, HttpStream, Transport

__all__ = [
    "Client",
    "ClusterAccess",
    "Contact",
    "HttpRequest",
    "HttpResponse",
    "HttpStream",
    "HttpTransport",
    "Page",
    "Transport",
    "load_default",
    "load_in_cluster",
    "load_kubeconfig",
]
