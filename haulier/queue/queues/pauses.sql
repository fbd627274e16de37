-- Queues are paused and resumed.

-- name: pause_queue
SELECT haulier.pause_queue(%(queue)s, %(until)s, %(actor)s, %(reason)s) AS became;

-- name: resume_queue
SELECT haulier.resume_queue(%(queue)s, %(actor)s);
