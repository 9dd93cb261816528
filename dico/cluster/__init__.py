"""The executor whose workers are actors of a Ray cluster: one that runs already, or one made here for the run.

Ray Core gives processes on many machines and messages between them. All else is as on one machine: the supervisor hands
out one task at a time, and replaces who dies. Rows travel back to the driver; masks never leave the actor that made
them. An actor is given nothing before its ``ready`` has answered: one that waits for a free CPU, as a replacement does
after the loss of a machine, would keep its task for ever.

:mod:`dico.cluster.executor` has the executor and needs Ray. What an actor does (``actors``), what it is sent
(``job_package``), what Ray's messages about deaths mean (``deaths``) and how Ray is kept quiet (``quiet``) needs none,
and is tested without.
"""
