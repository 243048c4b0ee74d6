"""No permissions without staff status."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


class StaffOnly:
    """Denies every permission to users without staff status, whatever their groups.

    It belongs before the backends that grant permissions. Without it, a member of *Site admins* whose staff status was
    taken away would be kept out of the admin only. It signs nobody in.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Leave signing in to the other backends."""

    def has_perm(self, user: Any, perm: str, obj: Any = None) -> bool:
        """Grant nothing. Raises PermissionDenied for users without staff status, so that no other backend is asked."""
        if not user.is_staff:
            raise PermissionDenied
        return False

    def has_module_perms(self, user: Any, app_label: str) -> bool:
        """Grant nothing. Raises PermissionDenied for users without staff status, so that no other backend is asked."""
        if not user.is_staff:
            raise PermissionDenied
        return False
