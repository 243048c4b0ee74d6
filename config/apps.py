"""Django's admin app with the portal's own site."""

from django.contrib.admin.apps import AdminConfig


class PortalAdminConfig(AdminConfig):
    """As Django's; named in INSTALLED_APPS in its place."""

    default_site = "config.admin_site.PortalAdminSite"
