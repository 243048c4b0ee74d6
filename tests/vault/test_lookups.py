"""What a query may ask of an encrypted field: whether there is a value, and nothing of the value."""

from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db.models import CharField, F, Value
from django.db.models.functions import Length

from badging.models import NavigatrConnection
from moodle_sync.models import Course, MoodleSite
from tests.builders import make_connection, make_course, make_site
from vault.fields import EncryptedTextField, Sealed

pytestmark = pytest.mark.django_db

SECRET = "s3cret-token"
LOOK_UPS = sorted({*CharField.get_lookups(), *EncryptedTextField.get_lookups()} - {"exact", "isnull"})


@pytest.mark.parametrize("name", [*LOOK_UPS, "length", "lower", "trim__startswith", "exact__startswith", "no_such"])
def test_every_other_look_up_is_refused(name: str) -> None:
    make_site(token=SECRET)
    with pytest.raises(FieldError):
        MoodleSite.objects.filter(**{f"token__{name}": "g"}).exists()
    with pytest.raises(FieldError):
        Course.objects.exclude(**{f"site__token__{name}": "g"}).exists()
    with pytest.raises(FieldError):
        NavigatrConnection.objects.filter(**{f"pat__{name}": "g"}).exists()


@pytest.mark.parametrize("value", [SECRET, "gAAAA", " ", 0, False, Sealed("gAAAA"), F("name"), Value(""), Value("g")])
def test_a_value_cannot_be_compared(value: Any) -> None:
    make_site(token=SECRET)
    with pytest.raises(FieldError, match="empty text only"):
        MoodleSite.objects.filter(token=value).exists()


@pytest.mark.parametrize("name", ["token__length", "token__lower"])
def test_a_value_cannot_be_transformed(name: str) -> None:
    with pytest.raises(FieldError):
        MoodleSite.objects.values_list(name)
    with pytest.raises(FieldError):
        list(MoodleSite.objects.order_by(name))


def test_whether_there_is_a_value_can_be_asked() -> None:
    one, none = make_site(token=SECRET), make_site(token="")
    make_connection(pat="")
    course = make_course(one)
    assert list(MoodleSite.objects.filter(token="")) == [none]
    assert list(MoodleSite.objects.exclude(token="")) == [one]
    assert list(MoodleSite.objects.filter(token__exact="")) == [none]
    assert not MoodleSite.objects.filter(token__isnull=True).exists()
    assert list(Course.objects.exclude(site__token="")) == [course]
    assert NavigatrConnection.objects.get(pat="").pat == ""


def test_no_other_field_is_affected() -> None:
    site = make_site(token=SECRET)
    assert MoodleSite.objects.annotate(long=Length("name")).get(long__gt=0, url__startswith="http") == site
