-- Notes up to which revision a webhook has been told; never goes back. By webhook_progress_pkey.
UPDATE webhook_progress SET revision = %(revision)s WHERE webhook = %(webhook)s AND revision < %(revision)s
