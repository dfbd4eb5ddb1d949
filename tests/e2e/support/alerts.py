"""Alerts as REST tells them."""

import json
from typing import Any

from .rest import Rest
from .wait import wait_until


class Alerts:
    """The alerts of one collector."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest

    def all(self, **filters: Any) -> list[dict[str, Any]]:
        """Every alert that was ever opened, newest first, over all pages. Rows that only say
        that another one ended are left out."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.rest.get("/alerts", limit=200, **filters, **cursor)
            found += page["alerts"]
            if not page["has_more"]:
                break
            cursor = {"cursor": page["next_cursor"]}
        ids = [alert["id"] for alert in found]
        assert len(ids) == len(set(ids)), "an alert is on two pages"
        ends = {alert["resolved_by_id"] for alert in found}
        return [alert for alert in found if alert["id"] not in ends]

    def of(self, kind: str, entity: int) -> list[dict[str, Any]]:
        """Newest first."""
        return self.all(entity_type=kind, entity_id=entity)

    def until_only(self, kind: str, entity: int, **facts: Any) -> Any:
        """Waits until the one alert there ever was of this entity has these facts."""

        def so() -> dict[str, Any]:
            alerts = self.of(kind, entity)
            assert len(alerts) == 1, alerts
            seen = {key: alerts[0].get(key) for key in facts}
            assert seen == facts, alerts[0]
            return alerts[0]

        return wait_until(so, f"the only alert of {kind} {entity} is {facts}")

    def until_detailed(self, alert: dict[str, Any], detail: str) -> dict[str, Any]:
        """Waits until the details of the alert have this one, and returns them all. What is found
        out after it opened is added within seconds."""

        def details() -> dict[str, Any]:
            told: dict[str, Any] = json.loads(self.rest.get(f"/alerts/{alert['id']}")["details"])
            assert told.get(detail), told
            return told

        return wait_until(details, f"alert {alert['id']} has its {detail}")
