"""The addresses of all pages."""

from django.contrib import admin
from django.contrib.auth import views as auth
from django.urls import include, path, reverse_lazy

handler500 = "config.errors.server_error"

urlpatterns = [
    path("", include("badging.pages.urls")),
    path(
        "sign-in/",
        auth.LoginView.as_view(template_name="account/sign_in.html", redirect_authenticated_user=True),
        name="login",
    ),
    path("sign-out/", auth.LogoutView.as_view(), name="logout"),
    path(
        "password/",
        auth.PasswordChangeView.as_view(
            template_name="account/password.html", success_url=reverse_lazy("password-changed")
        ),
        name="password",
    ),
    path(
        "password/changed/",
        auth.PasswordChangeDoneView.as_view(template_name="account/password_changed.html"),
        name="password-changed",
    ),
    path("admin/", admin.site.urls),
]
