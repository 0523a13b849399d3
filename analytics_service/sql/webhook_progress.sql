-- Up to which revision a webhook has been told, and up to which it is told of open alerts alone. By webhook_progress_pkey.
SELECT
    (SELECT revision FROM webhook_progress WHERE webhook = %(webhook)s) AS told,
    (SELECT revision FROM webhook_progress WHERE webhook = %(webhook)s || ' first') AS first
