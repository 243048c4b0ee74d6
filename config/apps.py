"""The admin app."""

from django.contrib.admin.apps import AdminConfig


class PortalAdminConfig(AdminConfig):
    """Django's admin with the portal's own AdminSite."""

    default_site = "config.admin_site.PortalAdminSite"
