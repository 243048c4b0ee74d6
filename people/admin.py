"""The admin's pages of this app."""

from . import lock_admin, user_admin  # noqa: F401
