"""The executor whose workers are actors of a Ray cluster: one that runs already, or one made here for the run.

Ray Core gives processes on many machines and messages between them. All else is as on one machine: the supervisor hands
out one task at a time, and replaces who dies. Rows travel back to the driver; masks never leave the actor that made
them. An actor is given nothing before its ``ready`` has answered: one that waits for a free CPU, as a replacement does
after the loss of a machine, would keep its task for ever.

What runs in the actors, what Ray's messages mean and what an address may look like is known without Ray, and tested so;
``executor``, ``connection``, ``workers``, ``extractors`` and ``remote`` use it.
"""

try:
    import ray as _  # noqa: F401 - one place that says what to install
except ImportError as error:
    raise ImportError("the ray executor needs ray: pip install 'divide-and-conquer[ray]'") from error

from dico.cluster.executor import RayExecutor

__all__ = ["RayExecutor"]
