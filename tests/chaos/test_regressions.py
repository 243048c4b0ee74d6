"""What a seed once found, told without the noise around it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection as database

from badging import mapping, queueing
from badging.meanings import Outcome
from badging.models import Issuance, IssuanceQuerySet
from tests.builders import NOW, make_completion, make_issuance, make_mapping

State = Issuance.State


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("reason", "act"),
    [
        (Outcome.LEARNER_SUSPENDED, lambda rows: mapping.remove_mapping(rows[0].mapping)),
        (Outcome.LEARNER_SUSPENDED, lambda rows: queueing.requeue(rows, now=NOW)),
    ],
    ids=["removed", "queued anew"],
)
def test_no_update_of_many_issuances_has_the_database_compare_them_with_each_other(
    reason: Outcome, act: Callable[[IssuanceQuerySet], object]
) -> None:
    # Seed 23: after PostgreSQL had been stopped its statistics were out of date, and it worked off an UPDATE whose
    # condition asked the same table again in as many steps as the third power of the rows held: 25 s for 600, hours for
    # 4,000. Every tick began another one, until no thread of any worker was left to send with.
    award = make_mapping()
    for _ in range(3):
        make_issuance(award, make_completion(award.course), state=State.HELD, reason=reason)
    statements: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        statements.append(sql)
        return execute(sql, *arguments)

    with database.execute_wrapper(note):
        act(Issuance.objects.all())
    updates = [sql for sql in statements if sql.startswith('UPDATE "badging_issuance"')]
    assert updates
    assert [sql for sql in updates if "SELECT" in sql] == []
    assert set(Issuance.objects.values_list("state", flat=True)) <= {State.QUEUED, State.CANCELLED}
