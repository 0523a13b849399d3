-- Sets from when on an assignment no longer holds. Carried by the primary key of meter_assignments.
UPDATE meter_assignments SET valid_until = %(valid_until)s WHERE assignment_id = %(assignment_id)s
