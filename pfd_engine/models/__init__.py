"""From a checkpoint's files to a denoiser or a map."""
