"""The queues that are measured: each sets itself up, enqueues jobs, runs workers, and sees when all jobs are done."""
