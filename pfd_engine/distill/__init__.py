"""Distillation: training students from a teacher's samples."""
