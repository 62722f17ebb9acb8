"""Shows a plan, and the result of its simulation."""

from __future__ import annotations

from reconciler.plan.model import Plan
from reconciler.views.plan_json import plan_data
from reconciler.views.plan_text import render_text
from reconciler.views.view import PlanText, View


def plan_view(plan: Plan) -> View:
    """Show a plan; its document is a PlanDocument."""
    return View(lambda: [PlanText(render_text(plan))], lambda: plan_data(plan))
