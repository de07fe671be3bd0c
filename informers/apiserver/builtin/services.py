"""Rules of Services: allocation of cluster IPs and node ports, validation, immutable fields."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from informers.apiserver.builtin.context import Context
from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import (
    duplicate,
    each_invalid,
    invalid,
    required,
    shown_inside,
    unsupported,
)
from informers.apiserver.values.names import dns_label, label_key, port_name, port_number
from informers.objects import Object

ADDRESSES = ipaddress.ip_network("10.96.0.0/16")
"""Where cluster IPs come from. The first one is the API server's own."""

NODE_PORTS = range(30000, 32768)

_ALLOCATED = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def allocate(draft: Object, old: Object | None, context: Context) -> None:
    """Give a defaulted draft what the server allocates, or what the stored service already has."""
    spec = draft["spec"]
    if spec["type"] == "ExternalName":
        _release(draft, old)
        return
    _synchronise(spec, old["spec"] if old is not None else {})
    if old is not None:
        _carry_over(spec, old["spec"])
    if not spec.get("clusterIP"):
        spec["clusterIP"] = _free_address(context)
        spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    both = spec["clusterIP"] == "None" and not spec.get("selector")
    spec.setdefault("ipFamilyPolicy", "RequireDualStack" if both else "SingleStack")
    dual = spec["ipFamilyPolicy"] == "RequireDualStack"
    spec.setdefault("ipFamilies", ["IPv4", "IPv6"] if dual else ["IPv4"])
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _open_node_ports(draft, context)
    elif old is not None and old["spec"].get("type") != spec["type"]:
        _close_node_ports(spec, old["spec"])
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(name) == old["spec"].get(name):
                spec.pop(name, None)


def meaningful(new: Object, old: Object) -> Object:
    """A service without the policies its new type has no use for. Who sent them still owns them."""
    kind, before = new["spec"]["type"], old["spec"].get("type")
    dropped: tuple[str, ...] = ()
    if kind == "ExternalName" and before not in (None, "ExternalName"):
        dropped = ("internalTrafficPolicy", "externalTrafficPolicy")
    elif kind == "ClusterIP" and kind != before:
        same = new["spec"].get("externalTrafficPolicy") == old["spec"].get("externalTrafficPolicy")
        dropped = ("externalTrafficPolicy",) if same else ()
    spec = {key: value for key, value in new["spec"].items() if key not in dropped}
    return {**new, "spec": spec}


def _release(draft: Object, old: Object | None) -> None:
    """A service that becomes a mere name gives its addresses back; ones asked for again are a mistake."""
    spec = draft["spec"]
    before = old["spec"] if old is not None else {}
    for name in _ALLOCATED:
        if spec.get(name) == before.get(name):
            spec.pop(name, None)
    if before.get("type") not in (None, "ExternalName"):
        _close_node_ports(spec, before)


def _synchronise(spec: Object, before: Object) -> None:
    """Keep the address and the list it heads in step; older clients know only the first."""
    one, several = spec.get("clusterIP"), spec.get("clusterIPs")
    if not before:
        if one and not several:
            spec["clusterIPs"] = [one]
        return
    if one != before.get("clusterIP") and several == before.get("clusterIPs"):
        if one:
            spec["clusterIPs"] = [one]
        else:
            spec.pop("clusterIPs", None)


def _carry_over(spec: Object, before: Object) -> None:
    if before.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP") and not spec.get("clusterIPs"):
        for name in ("clusterIP", "clusterIPs"):
            if name in before:
                spec[name] = before[name]
    for name in ("ipFamilies", "ipFamilyPolicy"):
        if name in before:
            spec.setdefault(name, before[name])
    if spec["type"] not in ("NodePort", "LoadBalancer"):
        return
    known = {_port_key(port): port.get("nodePort") for port in before.get("ports") or ()}
    used = {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        former = known.get(_port_key(port))
        if former and not port.get("nodePort") and former not in used:
            port["nodePort"] = former


def _port_key(port: Object) -> tuple[Any, Any]:
    return port.get("protocol"), port.get("port")


def _close_node_ports(spec: Object, before: Object) -> None:
    """Ports that were open on the nodes and still stand in the request were not asked for."""
    former = {port.get("nodePort") for port in before.get("ports") or ()}
    for port in spec.get("ports") or ():
        if port.get("nodePort") in former:
            port.pop("nodePort", None)


def _free_address(context: Context) -> str:
    used = {service["spec"].get("clusterIP") for service in context.all("", "services")}
    size = ADDRESSES.num_addresses - 2
    start = context.rng.randrange(1, size)
    for step in range(size):
        address = str(ADDRESSES[2 + (start + step) % (size - 1)])
        if address not in used:
            return address
    raise AssertionError("every address of the service network is in use")


def _open_node_ports(draft: Object, context: Context) -> None:
    used = _node_ports_of_others(draft, context)
    spec = draft["spec"]
    used |= {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        if not port.get("nodePort"):
            free = [number for number in NODE_PORTS if number not in used]
            port["nodePort"] = context.rng.choice(free)
            used.add(port["nodePort"])


def _others(service: Object, context: Context) -> Iterator[Object]:
    here = service["metadata"]
    for other in context.all("", "services"):
        there = other["metadata"]
        if (there["namespace"], there["name"]) != (here.get("namespace"), here.get("name")):
            yield other


def _node_ports_of_others(service: Object, context: Context) -> set[Any]:
    return {
        port.get("nodePort") for one in _others(service, context) for port in one["spec"].get("ports") or ()
    }


def validate(new: Object, old: Object | None, context: Context) -> Iterator[Cause]:
    """What is wrong with a service."""
    spec = new["spec"]
    kind = spec.get("type")
    if old is not None:
        yield from _kept(spec, old["spec"])
    if kind not in _TYPES:
        yield unsupported("spec.type", kind, _TYPES)
    if kind == "ExternalName":
        yield from _of_name(spec)
    else:
        if not spec.get("ports") and spec.get("clusterIP") != "None":
            yield required("spec.ports")
        yield from _of_address(new, context, old)
    yield from _of_ports(new, context)
    if spec.get("sessionAffinity") not in ("ClientIP", "None"):
        yield unsupported("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    if kind in ("LoadBalancer", "NodePort") and spec.get("clusterIP") == "None":
        yield invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services")
    for name in ("internalTrafficPolicy", "externalTrafficPolicy"):
        if spec.get(name) not in (None, "Cluster", "Local"):
            yield unsupported(f"spec.{name}", spec[name], ("Cluster", "Local"))


def _of_name(spec: Object) -> Iterator[Cause]:
    name = spec.get("externalName")
    if not name:
        yield required("spec.externalName")
    if spec.get("clusterIP"):
        yield Cause(
            "FieldValueForbidden",
            "Forbidden: may not be set when `type` is 'ExternalName'",
            "spec.clusterIPs",
        )


def _kept(spec: Object, before: Object) -> Iterator[Cause]:
    """Addresses stay, unless the service is or becomes a mere name."""
    if "ExternalName" in (spec.get("type"), before.get("type")):
        return
    new, old = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    if old and new[:1] != old[:1]:
        yield invalid("spec.clusterIPs[0]", new, "may not change once set")
    families, former = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
    if former and families[:1] != former[:1]:
        yield invalid("spec.ipFamilies[0]", families, "may not change once set")


def _of_address(new: Object, context: Context, old: Object | None) -> Iterator[Cause]:
    addresses = new["spec"].get("clusterIPs") or []
    for position, text in enumerate(addresses):
        if text == "None":
            continue
        field = f"spec.clusterIPs[{position}]"
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            yield invalid(field, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
            continue
        if old is not None and text in (old["spec"].get("clusterIPs") or []):
            continue
        if address not in ADDRESSES:
            why = f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {ADDRESSES}"
        elif any(text in (one["spec"].get("clusterIPs") or []) for one in _others(new, context)):
            why = "provided IP is already allocated"
        else:
            continue
        yield invalid("spec.clusterIPs", addresses, f"failed to allocate IP {text}: {why}")


def _of_ports(new: Object, context: Context) -> Iterator[Cause]:
    spec = new["spec"]
    ports: Sequence[Object] = spec.get("ports") or []
    names: set[str] = set()
    for position, port in enumerate(ports):
        yield from _of_port(port, f"spec.ports[{position}]", len(ports) > 1, names)
    seen: set[tuple[Any, Any]] = set()
    taken = _node_ports_of_others(new, context) if spec.get("type") in ("NodePort", "LoadBalancer") else set()
    for position, port in enumerate(ports):
        key = _port_key(port)
        if key in seen:
            value = shown_inside(
                Name="", Protocol=key[0], AppProtocol=None, Port=key[1], TargetPort=0, NodePort=0
            )
            field = f"spec.ports[{position}]"
            yield Cause("FieldValueDuplicate", f"Duplicate value: {value}", field)
        seen.add(key)
        number = port.get("nodePort")
        if not number:
            continue
        field = f"spec.ports[{position}].nodePort"
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            detail = "Forbidden: may not be used when `type` is 'ClusterIP'"
            yield Cause("FieldValueForbidden", detail, field)
        elif number not in NODE_PORTS:
            detail = "provided port is not in the valid range. The range of valid ports is 30000-32767"
            yield invalid(field, number, detail)
        elif number in taken:
            yield invalid(field, number, "provided port is already allocated")


def _of_port(port: Object, field: str, named: bool, names: set[str]) -> Iterator[Cause]:
    name = port.get("name") or ""
    if named and not name:
        yield required(f"{field}.name")
    elif name:
        yield from each_invalid(f"{field}.name", name, dns_label(name))
        if name in names:
            yield duplicate(f"{field}.name", name)
        names.add(name)
    number = port.get("port")
    if isinstance(number, int):
        yield from each_invalid(f"{field}.port", number, port_number(number))
    if port.get("protocol") not in _PROTOCOLS:
        yield unsupported(f"{field}.protocol", port.get("protocol"), _PROTOCOLS)
    target = port.get("targetPort")
    if isinstance(target, str):
        yield from each_invalid(f"{field}.targetPort", target, port_name(target))
    elif isinstance(target, int):
        yield from each_invalid(f"{field}.targetPort", target, port_number(target))
    if port.get("appProtocol") is not None:
        yield from each_invalid(f"{field}.appProtocol", port["appProtocol"], label_key(port["appProtocol"]))
