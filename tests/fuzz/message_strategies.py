"""Messages that the protocol allows, drawn from the types of their own fields."""

from datetime import UTC

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from boltz_protocol import messages
from boltz_protocol.messages import MAX_SAFE_INTEGER, Message

LONGEST = 4
SHORT = 40
KINDS = tuple(
    kind
    for kind in vars(messages).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind is not Message
)


def messages_of(kind):
    """Valid messages of one kind."""
    return _values(inspect.type_info(kind))


def json_values():
    """What JSON can say, whether it means anything or not; names of fields that some message has among the keys."""
    fields = sorted({field.encode_name for kind in KINDS for field in msgspec.structs.fields(kind)})
    keys = st.sampled_from(fields) | st.text(max_size=8)
    scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=20)
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=LONGEST) | st.dictionaries(keys, inner, max_size=LONGEST),
        max_leaves=20,
    )


def _values(kind):
    """Values of one type of field; each of the protocol's types has its row."""
    return STRATEGIES[type(kind)](kind)


def _integers(kind):
    return st.integers(
        -MAX_SAFE_INTEGER if kind.ge is None else kind.ge, MAX_SAFE_INTEGER if kind.le is None else kind.le
    )


def _floats(kind):
    low = kind.ge if kind.gt is None else kind.gt
    return st.floats(low, kind.le, exclude_min=kind.gt is not None, allow_nan=False, allow_infinity=False)


def _texts(kind):
    if kind.pattern is None:
        return st.text(st.characters(codec="utf-8"), max_size=min(kind.max_length or SHORT, SHORT))
    found = st.from_regex(kind.pattern)
    return found.filter(lambda text: (kind.min_length or 0) <= len(text) <= (kind.max_length or len(text)))


def _tuples(kind):
    most = LONGEST if kind.max_length is None else min(kind.max_length, LONGEST)
    return st.lists(_values(kind.item_type), min_size=kind.min_length or 0, max_size=most).map(tuple)


STRATEGIES = {
    inspect.NoneType: lambda _: st.none(),
    inspect.IntType: _integers,
    inspect.FloatType: _floats,
    inspect.StrType: _texts,
    inspect.DateTimeType: lambda _: st.datetimes(timezones=st.just(UTC)),
    inspect.LiteralType: lambda kind: st.sampled_from(kind.values),
    inspect.UnionType: lambda kind: st.one_of([_values(one) for one in kind.types]),
    inspect.VarTupleType: _tuples,
    inspect.DictType: lambda kind: st.dictionaries(_values(kind.key_type), _values(kind.value_type), max_size=LONGEST),
    inspect.StructType: lambda kind: st.builds(kind.cls, **{field.name: _values(field.type) for field in kind.fields}),
}
