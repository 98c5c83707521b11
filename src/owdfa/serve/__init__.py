"""A case on a page, and over HTTP: attribute files, review groups, look things up.

    app = make_app(Place.find("case"), ServeSettings())

``app.py`` puts together what the other files hold: ``guard.py`` who may ask what, ``connection.py``
for how long, ``pages/`` one file a screen, ``api.py`` the HTTP API, ``service.py`` the work. A file
that is sent goes through ``uploads.py`` (to the disk), ``jobs.py`` (what is to be done, and
survives a restart), ``attributing.py`` (which worker does what), ``pool.py`` and ``worker.py`` (the
processes that decode and compute) and ``adding.py`` (to the case). This process decodes nothing
that it was sent: workers do, with limits of time and memory.
"""
