# SPDX-License-Identifier: Apache-2.0
"""What the tables' columns are made of, the same on each database."""

import datetime
from typing import Annotated
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql

#: In characters; :mod:`rbdcloner.arguments` lets no more than that pass.
NAME_LENGTH = 255
POOL_LENGTH = 128
ID_LENGTH = 64
HOST_LENGTH = 255
REASON_LENGTH = 1000

Serial = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


class Time(sa.TypeDecorator[datetime.datetime]):
    """A time in UTC: without a zone in the database, with it in Python."""

    impl = sa.DateTime().with_variant(
        mysql.DATETIME(fsp=6), 'mysql', 'mariadb'
    )
    cache_ok = True

    def process_result_value(
        self, value: datetime.datetime | None, dialect: sa.Dialect
    ) -> datetime.datetime | None:
        return value and value.replace(tzinfo=datetime.UTC)


Id = Annotated[str, orm.mapped_column(sa.String(ID_LENGTH))]
Name = Annotated[str, orm.mapped_column(sa.String(NAME_LENGTH))]
Pool = Annotated[str, orm.mapped_column(sa.String(POOL_LENGTH))]
Host = Annotated[str, orm.mapped_column(sa.String(HOST_LENGTH))]
Word = Annotated[str, orm.mapped_column(sa.String(16))]
Big = Annotated[int, orm.mapped_column(sa.BigInteger())]
Small = Annotated[int, orm.mapped_column(sa.SmallInteger())]
Count = Annotated[int, orm.mapped_column(sa.Integer())]
Flag = Annotated[int | None, orm.mapped_column(sa.SmallInteger())]
Moment = Annotated[datetime.datetime, orm.mapped_column(Time())]
Until = Annotated[datetime.datetime | None, orm.mapped_column(Time())]


class Base(orm.DeclarativeBase):
    """What the tables share: names for their constraints, and an engine."""

    metadata = sa.MetaData(
        naming_convention={
            'fk': 'fk_%(table_name)s_%(column_0_name)s',
            'ix': 'ix_%(table_name)s_%(column_0_N_name)s',
            'pk': 'pk_%(table_name)s',
        }
    )


def options(sqlite_autoincrement: bool = True) -> dict[str, Any]:
    """Return what each dialect is told of a table."""
    told: dict[str, Any] = {'sqlite_autoincrement': sqlite_autoincrement}
    for dialect in ('mysql', 'mariadb'):
        told[f'{dialect}_engine'] = 'InnoDB'
        told[f'{dialect}_charset'] = 'utf8mb4'
        told[f'{dialect}_collate'] = 'utf8mb4_nopad_bin'
    return told
