-- What each act on a job has.

-- name: act_by_index
-- Goes before an act in the same message. A prepared one has one plan for all calls, and a plan that was made while a
-- table was small would read all of it.
SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off;
