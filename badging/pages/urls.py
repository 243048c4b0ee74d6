"""The addresses of the course managers' pages."""

from django.urls import path

from .courses import course_list, course_page, issuance_page, remove_badge
from .home import home
from .pictures import picture
from .wizard import choose_badge, choose_provider, review_badge

urlpatterns = [
    path("", home, name="home"),
    path("pictures/<str:signed>/", picture, name="picture"),
    path("courses/", course_list, name="courses"),
    path("courses/<int:pk>/", course_page, name="course"),
    path("courses/<int:pk>/badge/", choose_provider, name="choose-provider"),
    path("courses/<int:pk>/badge/choose/", choose_badge, name="choose-badge"),
    path("courses/<int:pk>/badge/review/", review_badge, name="review-badge"),
    path("courses/<int:pk>/badge/remove/", remove_badge, name="remove-badge"),
    path("courses/<int:pk>/issuances/<int:issuance_pk>/", issuance_page, name="issuance"),
]
