#!/usr/bin/env python
"""Django's command-line utility."""

import os
import sys


def main() -> None:
    """Run a management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from people.acting import acting, nobody

    try:
        with acting(nobody):
            execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A wrong setting: the message says what to change, a traceback would not help.
        sys.exit(str(error))


if __name__ == "__main__":
    main()
