"""Addresses of the application `tests.hostile.apps.echo`: every one echoes. The middleware asks where the admin is."""

from django.contrib import admin
from django.urls import path, re_path

from .apps import echoed

urlpatterns = [re_path(".*", echoed), path("admin/", admin.site.urls)]
