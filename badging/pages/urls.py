"""The addresses of the course managers' pages."""

from django.urls import path

from .courses import course_list, course_news, course_page, find_learner, remove_badge
from .help import help_page
from .home import home
from .issuances import issuance_page, send_again
from .looking import look_now
from .pictures import picture
from .wizard import choose_badge, choose_provider, review_badge

urlpatterns = [
    path("", home, name="home"),
    path("pictures/<str:signed>/", picture, name="picture"),
    path("help/", help_page, name="help"),
    path("courses/", course_list, name="courses"),
    path("courses/<int:pk>/", course_page, name="course"),
    path("courses/<int:pk>/news/", course_news, name="course-news"),
    path("courses/<int:pk>/find/", find_learner, name="find-learner"),
    path("courses/<int:pk>/look/", look_now, name="look-now"),
    path("courses/<int:pk>/badge/", choose_provider, name="choose-provider"),
    path("courses/<int:pk>/badge/choose/", choose_badge, name="choose-badge"),
    path("courses/<int:pk>/badge/review/", review_badge, name="review-badge"),
    path("courses/<int:pk>/badge/remove/", remove_badge, name="remove-badge"),
    path("courses/<int:pk>/issuances/<int:issuance_pk>/", issuance_page, name="issuance"),
    path("courses/<int:pk>/issuances/<int:issuance_pk>/send-again/", send_again, name="send-again"),
]
