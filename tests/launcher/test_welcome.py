"""What is said once the pages answer."""

from launcher import welcome
from tests.services import free_port


def test_the_box_frames_every_line() -> None:
    assert welcome.box(["a", "long"]) == "┌──────┐\n│ a    │\n│ long │\n└──────┘"


def test_the_welcome_names_what_to_open() -> None:
    text = "\n".join(welcome.message("http://127.0.0.1:8000", "ada", 8001))
    assert "http://127.0.0.1:8000/courses/" in text
    assert "http://127.0.0.1:8000/admin/" in text
    assert "http://127.0.0.1:8001/" in text
    assert "sign_in_link ada" in text


def test_without_an_admin_nobody_is_told_to_sign_in() -> None:
    assert "Sign in" not in "\n".join(welcome.message("http://127.0.0.1:8000", ""))


def test_pages_that_never_answer_are_given_up() -> None:
    assert not welcome.wait_for_pages(free_port(), seconds=0.2)
