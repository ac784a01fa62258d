# Where Snakemake 9 itself stands in the way of a run over many slides, three of its functions
# are replaced. The lock pins the version that they were tried with.

import asyncio
import threading

import snakemake.jobs
from snakemake.scheduling import job_scheduler


def leave_missing_inputs_to_their_jobs():
    """Let an input that vanished since the run began fail its own job, which names it.

    The engine would end the whole run, before any hook of ours. Its waiting stays as it is.
    """
    wait_for_files = snakemake.jobs.wait_for_files

    async def wait(files, **options):
        try:
            await wait_for_files(files, **options)
        except OSError:
            if "consider_local" not in options:  # which is said of inputs alone
                raise

    snakemake.jobs.wait_for_files = wait


def look_again_once():
    """Let the scheduler look again for jobs to start once a second, and not once for every look.

    To keep to its rate of jobs it looks again after each look, also after those that follow a job's
    end, so that with every job that ends there is a look more in each second, over all jobs that
    are ready: at 200 slides the driver used a whole core.
    """
    pending = []

    def look_again(scheduler, seconds):
        if not (pending and pending[-1].is_alive()):
            pending[:] = [threading.Timer(seconds, scheduler._open_jobs.release)]
            pending[-1].start()

    job_scheduler.JobScheduler._schedule_reevalutation = look_again


def ask_sizes_once():
    """Let the scheduler ask for the size of an input once, and not at every look for jobs to start.

    It prefers jobs with much to read. Before every job it asked for all inputs of all ready jobs:
    0.3 CPU seconds a job at 1,149 slides.
    """

    async def update_input_sizes(scheduler, jobs):
        sizes = scheduler._input_sizes
        for path in {path for job in jobs for path in job.input if path not in sizes}:
            sizes[path] = await path.size() if await path.exists() else None
        await asyncio.sleep(0)  # an interrupt from the keyboard takes hold where a task waits

    job_scheduler.JobScheduler.update_input_sizes = update_input_sizes


leave_missing_inputs_to_their_jobs()
ask_sizes_once()
look_again_once()
