"""A case on a page, and over HTTP: attribute files, review groups, look things up.

    app = make_app(Place.find("case"), ServeSettings())

``app.py`` puts together what the other files hold: ``guard.py`` who may ask what, ``pages/`` one
file a screen, ``api.py`` the HTTP API, ``service.py`` the work, ``jobs.py`` what of it is to be
done and survives a restart, ``pool.py`` and ``worker.py`` the processes that decode and compute.
This process decodes nothing that it was sent: workers do, with limits of time and memory.
"""
