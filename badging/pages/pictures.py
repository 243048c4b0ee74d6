"""Pictures of badges, served by the portal itself."""

from django.contrib.auth.decorators import login_required
from django.core.signing import BadSignature
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from .. import pictures

# A picture that is opened by its address can run and load nothing. SVG files style themselves.
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@login_required
@require_safe
def picture(request: HttpRequest, signed: str) -> HttpResponse:
    """One picture, or the placeholder where it cannot be had now."""
    try:
        url = pictures.url_in(signed)
    except BadSignature as error:
        raise Http404 from error
    found = pictures.picture_at(url)
    if found is None:
        return redirect(static("badging/no-picture.svg"))
    headers = {
        "Cache-Control": f"private, max-age={int(pictures.KEPT_FOR.total_seconds())}",
        "Content-Security-Policy": PICTURE_POLICY,
    }
    return HttpResponse(found.content, content_type=found.content_type, headers=headers)
