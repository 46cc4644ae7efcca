"""Model instances from statements that are written once.

For what every request of a client looks up: the ORM needs several times as long to make such a statement as Postgres
to answer it.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models import Field, Model


class Joined:
    """The tables of one statement: for each an alias and the model whose instances its rows are."""

    def __init__(self, **tables: type[Model]) -> None:
        self._models = tuple(tables.values())
        self.columns = ", ".join(
            f"{alias}.{field.column}" for alias, model in tables.items() for field in fields(model)
        )

    def first(self, statement: str, values: Sequence[object]) -> tuple[Any, ...] | None:
        """From the first row an instance of each model, not tied to one another; None without a row.

        `statement` selects `columns`; what it selects after them comes after the instances, as it is. What an outer
        join has not found is None too.
        """
        row = first_row(statement, values)
        if row is None:
            return None
        found, start = [], 0
        for model in self._models:
            stop = start + len(fields(model))
            found.append(_instance(model, row[start:stop]))
            start = stop
        return (*found, *row[start:])


def first_row(statement: str, values: Sequence[object]) -> tuple[Any, ...] | None:
    """The first row that a statement gives, as it is; None without one."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row: tuple[Any, ...] | None = cursor.fetchone()
    return row


def fields(model: type[Model]) -> "tuple[Field[Any, Any], ...]":
    """The fields with a column of their own, in the order in which `from_db` takes them."""
    return tuple(model._meta.concrete_fields)  # noqa: SLF001 - Django's documented way


def _instance(model: type[Model], values: Sequence[Any]) -> Model | None:
    """One instance, JSON as its model holds it; None where an outer join has found no row."""
    if all(value is None for value in values):
        return None
    ready = [
        field.from_db_value(value, None, connection) if hasattr(field, "from_db_value") else value
        for field, value in zip(fields(model), values, strict=True)
    ]
    return model.from_db(connection.alias, [field.attname for field in fields(model)], ready)
