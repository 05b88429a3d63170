"""A training run at toy length, without pictures that are held out."""

import torch

from nicodec.networks.base import BaseConfig
from nicodec.training.data import Pictures
from nicodec.training.loop import Run, Schedule
from nicodec.training.sq import SQStage

TOY = BaseConfig(latent=16, hyper=4, wide_8=8, wide_16=8, depth_8=1, depth_16=1, context=8, scale_context=8)
CPU = torch.device("cpu")


def run(data, folder, steps, *, resume=False, of=8, crop=64, config=TOY, init=None, start=8, frozen=None):
    schedule = Schedule(steps=of, batch=2, crop=crop, warmup=2)
    torch.manual_seed(7)
    stage = SQStage(config)
    stage.start = lambda found: stage.module.start_from_klt(found, start)
    found = Pictures([data], CPU, 256)
    job = Run(stage, schedule, folder, CPU, found, None, resume=resume, init=init, quiet=True, frozen=frozen)
    while job.step < steps:
        job._one_step()
    job._save()
    job._write_config()
    return job
