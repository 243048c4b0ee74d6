"""The addresses of the course managers' pages."""

from django.urls import path

from . import wizard

urlpatterns = [
    path("", wizard.home, name="home"),
    path("courses/", wizard.course_list, name="courses"),
    path("courses/<int:pk>/", wizard.course_page, name="course"),
    path("courses/<int:pk>/badge/", wizard.choose_provider, name="choose-provider"),
    path("courses/<int:pk>/badge/choose/", wizard.choose_badge, name="choose-badge"),
    path("courses/<int:pk>/badge/review/", wizard.review_badge, name="review-badge"),
    path("courses/<int:pk>/badge/remove/", wizard.remove_badge, name="remove-badge"),
    path("courses/<int:pk>/issuances/<int:issuance_pk>/", wizard.issuance_page, name="issuance"),
]
