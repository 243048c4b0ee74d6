"""Every address of the portal, read from the URL configuration, and every admin action, read from the admin's registry.

An address is written as it stands in the URL configuration: `courses/<int:pk>/`.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.contrib import admin
from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

# A value in an address: <int:pk> or <key>.
VALUE = re.compile(r"<(?:\w+:)?(\w+)>")


class Asked(NamedTuple):
    """One row of the table: an address, and how it is asked.

    `method` is a HTTP method, or `POST:name` for the admin action of that name.
    """

    address: str
    method: str

    @property
    def kind(self) -> str:
        """GET, POST or action."""
        return "action" if ":" in self.method else self.method


def every_row() -> list[Asked]:
    """Each address by GET and POST, each field that the admin searches in, and each action of the admin."""
    rows = [Asked(address, method) for address in every_address() for method in ("GET", "POST")]
    return sorted({*rows, *_search_fields(), *_actions()})


def every_address() -> list[str]:
    """Every address of the URL configuration, those of includes and of the admin's models among them."""
    found = [address for pattern in _leaves(get_resolver().url_patterns) for address in _expanded(pattern)]
    assert found
    return sorted(set(found))


def _leaves(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        address = prefix + _text_of(pattern)
        if isinstance(pattern, URLResolver):
            yield from _leaves(pattern.url_patterns, address)
        else:
            assert isinstance(pattern, URLPattern)
            yield address


def _text_of(pattern: Any) -> str:
    """A route as it is; a regular expression with `<name>` for each group."""
    text = str(pattern.pattern)
    if isinstance(pattern.pattern, RoutePattern) or not text:
        return text
    return str(simplify_regex(text)).removeprefix("/")


def _expanded(address: str) -> list[str]:
    """The admin's page of an app is one address for each app, because its permissions differ."""
    if "<app_label>" not in address:
        return [address]
    apps = {model._meta.app_label for model in admin.site._registry}
    return [address.replace("<app_label>", app) for app in apps]


def _search_fields() -> list[Asked]:
    """The admin's address for the choices of a field, which is posted."""
    return [
        Asked(f"admin/autocomplete/?{model._meta.label_lower}.{field}", "POST")
        for model, model_admin in admin.site._registry.items()
        for field in model_admin.autocomplete_fields
    ]


def _actions() -> list[Asked]:
    """Every action of every model, those that nobody is offered included: a POST can name any."""
    registry: dict[Any, Any] = admin.site._registry
    return [
        Asked(f"admin/{model._meta.app_label}/{model._meta.model_name}/", f"POST:{name}")
        for model, model_admin in registry.items()
        for _run, name, _label in model_admin._get_base_actions()
    ]
