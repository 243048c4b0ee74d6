"""The addresses of all pages."""

from django.contrib import admin
from django.urls import include, path

handler500 = "config.errors.server_error"

urlpatterns = [
    path("", include("badging.pages.urls")),
    path("", include("people.urls")),
    path("admin/", admin.site.urls),
]
