"""What a round of sending came to."""

from dataclasses import asdict, dataclass

from ..models import Issuance

State = Issuance.State


@dataclass
class Tally:
    """What a round of sending came to."""

    attempts: int = 0
    issued: int = 0
    not_met: int = 0
    failed: int = 0
    retry: int = 0
    held: int = 0

    def count(self, state: str) -> None:
        """Count one issuance by the state that it came to."""
        name = {State.ISSUED: "issued", State.NOT_MET: "not_met", State.FAILED: "failed", State.HELD: "held"}.get(
            State(state), "retry" if state == State.QUEUED else ""
        )
        if name:
            setattr(self, name, getattr(self, name) + 1)

    def add(self, other: "Tally") -> None:
        """Count another round in."""
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)
