"""Which shape and encoding a client gets, and what its body decodes to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.sandbox.http.content.negotiation import Shape, Wanted, decode_body, encode, negotiate
from informers.apiserver.errors import StatusError

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", Wanted()),
        ("*/*", Wanted()),
        ("application/json", Wanted()),
        ("application/yaml", Wanted(media_type="application/yaml")),
        (f"{TABLE},application/json", Wanted(Shape.TABLE)),
        ("application/vnd.kubernetes.protobuf, application/json", Wanted()),
        ("application/json;as=Table;v=v9;g=meta.k8s.io, */*", Wanted()),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Wanted(Shape.PARTIAL_LIST)),
        ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", Wanted(Shape.AGGREGATED_V2)),
    ],
)
def test_the_first_shape_that_can_be_made_wins(accept: str, wanted: Wanted) -> None:
    assert negotiate(accept) == wanted


@pytest.mark.parametrize("accept", ["text/html", "application/cbor", "application/json;as=Nothing"])
def test_what_cannot_be_made_is_refused(accept: str) -> None:
    with pytest.raises(StatusError) as refused:
        negotiate(accept)
    assert refused.value.code == 406


def test_yaml_dates_stay_text_and_broken_bodies_are_400() -> None:
    assert decode_body(b"a: 2027-01-01", "application/yaml") == {"a": "2027-01-01"}
    for raw, kind in (
        (b"{", "application/json"),
        (b"a: [", "application/yaml"),
        (b"\xff", "application/json"),
    ):
        with pytest.raises(StatusError) as refused:
            decode_body(raw, kind)
        assert refused.value.code == 400


JSON_VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)  # Larger ones become floats in YAML, as in a real server.
    | st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="abc", min_size=1), inner),
    max_leaves=10,
)


@given(JSON_VALUES, st.sampled_from(["application/json", "application/yaml"]))
def test_what_is_encoded_decodes_to_itself(value: Any, kind: str) -> None:
    assert decode_body(encode(value, kind), kind) == value
