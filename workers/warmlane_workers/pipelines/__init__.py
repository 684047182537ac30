"""Transformers pipelines: what the installed transformers has, and how one is built.

Importing it has an effect that is seen outside: transformers then knows the tasks that it had before version 5.
"""

from warmlane_workers.pipelines.classic import register

register()
