"""What a run begins with and how long it learns: the part of the training panel that is about networks. The form of settings comes from the
server's description (Training.Describe); what the panel suggests instead of a default is shown in it and can be changed.
"""
from __future__ import annotations

from typing import Any

import bioseg
from bioseg.errors import InvalidRequest
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QLineEdit, QVBoxLayout, QWidget

from . import _settings, _threads
from ._sentences import sentence
from ._session import session
from ._widgets import Combo, ParameterForm, fill_combo

_NETWORKS = (("unet", "U-Net"), ("vimunet", "ViM-UNet"), ("unetr", "UNETR"))
_RECIPES = ("distances", "boundaries")
_OF_THE_NETWORK = ("features", "depth")  # a model that is trained on has its own
_FIRST = ("iterations", "learning_rate", "patch", "batch")
# A correction is a small matter: the defaults are for networks that begin with nothing.
_SUGGESTED = {True: {"iterations": 500, "validate_every": 25, "checkpoint_every": 100},
              False: {"iterations": 5000, "validate_every": 100, "checkpoint_every": 500}}


class TrainForm(QWidget):
    changed = Signal()
    described = Signal()  # another form of settings
    said = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self._session = session()
        self._form_of: tuple[Any, ...] | None = None
        self.start_from = Combo()
        self.start_from.setToolTip("<qt>A model that is there learns on from what it knows (few images are enough); a new network begins with "
                                   "random weights and needs many.</qt>")
        self.start_from.opening.connect(self._session.refresh_models)
        self.start_from.currentIndexChanged.connect(self._choose)
        self.recipe = Combo()
        fill_combo(self.recipe, [(name, name) for name in _RECIPES])
        self.recipe.setToolTip("<qt>What the network learns to see. Distances: how far a pixel is from its object's centre and boundary, for objects on a "
                               "background. Boundaries: where they are, for tissue where everything is an object.</qt>")
        self.recipe.currentIndexChanged.connect(self._describe)
        self.name = QLineEdit()
        self.name.setToolTip("A name that is there gets a new version; nobody uses it before it is promoted, if one of that name is")
        self.name.textChanged.connect(lambda _: self.changed.emit())
        self.dataset = QLineEdit(_settings.load().get("dataset") or "corrections")
        self.dataset.setToolTip("Where the server keeps what you have corrected. What is in it already is learnt too, and is not sent again.")
        self.dataset.textChanged.connect(lambda _: self.changed.emit())
        self.form = ParameterForm([])
        self.rows = QFormLayout()
        self.rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.rows.addRow("Start from", self.start_from)
        self.rows.addRow("Recipe", self.recipe)
        self.rows.addRow("New name", self.name)
        self.rows.addRow("Dataset", self.dataset)
        self._place = QVBoxLayout()
        self._place.addWidget(self.form)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self.rows)
        layout.addLayout(self._place)
        self._session.models_changed.connect(self._show_models)
        self._show_models()

    def _show_models(self) -> None:
        before = self.start_from.currentData()
        models = [(m.reference, m.reference) for m in self._session.models if m.trained]
        new = [(f"new {title}", name) for name, title in _NETWORKS] if self._session.client is not None else []
        fill_combo(self.start_from, models + new, keep=_settings.load().get("model"))
        if self.start_from.currentData() != before or self._form_of is None:
            self._choose()

    @property
    def parent_model(self) -> bioseg.Model | None:
        """The one to train on; None: a new network."""
        chosen = self.start_from.currentData()
        return next((m for m in self._session.models if m.reference == chosen), None)

    def _choose(self, *_: Any) -> None:
        parent = self.parent_model
        if parent is not None:
            self.recipe.blockSignals(True)
            self.recipe.setCurrentIndex(max(0, self.recipe.findData(parent.recipe)))
            self.recipe.blockSignals(False)
        chosen = self.start_from.currentData()
        if chosen:
            base = parent.name if parent is not None else f"my-{chosen}"
            self.name.setText(base if base.endswith("-corrected") or parent is None else f"{base[:54]}-corrected")
        self._describe()

    def _describe(self, *_: Any) -> None:
        client, parent, chosen, recipe = self._session.client, self.parent_model, self.start_from.currentData(), self.recipe.currentData()
        what = (chosen, recipe)
        if client is None or chosen is None:
            self._set_form(ParameterForm([]), None)
            return

        def done(parameters: tuple[bioseg.Parameter, ...]) -> None:
            if what != (self.start_from.currentData(), self.recipe.currentData()):
                return
            suggested = dict(_SUGGESTED[parent is not None])
            if parent is not None and parent.training_patch_px:
                suggested["patch"] = parent.training_patch_px
            first = [p for name in _FIRST for p in parameters if p.name == name]
            rest = [p for p in parameters if p.name not in _FIRST]
            form = ParameterForm([*first, *rest], without=_OF_THE_NETWORK if parent is not None else (), first=_FIRST, only_first=True)
            form.set_values(suggested)
            form.set_values(_settings.load().get("training", {}).get(f"{chosen} {recipe}", {}))
            self._set_form(form, what)

        def failed(error: Exception) -> None:
            self._set_form(ParameterForm([]), None)
            self.said.emit("error", sentence(error, client.address, connected=True))

        _threads.start(client.training_parameters, parent.architecture if parent is not None else chosen, recipe, done=done, failed=failed)

    def _set_form(self, form: ParameterForm, of: tuple[Any, ...] | None) -> None:
        self._form_of = of
        self._place.replaceWidget(self.form, form)
        self.form.hide()
        self.form.deleteLater()
        self.form = form
        self.described.emit()
        self.changed.emit()

    @property
    def ready(self) -> bool:
        return self._form_of is not None and self._form_of == (self.start_from.currentData(), self.recipe.currentData())

    def settings(self) -> dict[str, Any]:
        """What a TrainOrder needs besides examples. InvalidRequest, or ValueError of a number that is none."""
        if self._session.client is None:
            raise InvalidRequest("not connected to a server")
        if not self.ready:
            raise InvalidRequest("the server has not said yet what can be set; try again in a moment")
        if not self.name.text().strip():
            raise InvalidRequest("the model needs a name: letters, digits, '.', '_' and '-'")
        if not self.dataset.text().strip():
            raise InvalidRequest("the dataset needs a name: letters, digits, '.', '_' and '-'")
        parent, chosen = self.parent_model, self.start_from.currentData()
        values = self.form.values()
        if parent is not None and "patch" in self.form.fields:  # its default is the model's own, not the described one
            values["patch"] = self.form.fields["patch"].shown()
        _settings.remember(dataset=self.dataset.text().strip(),
                           training={**_settings.load().get("training", {}), f"{chosen} {self.recipe.currentData()}": values})
        return {"dataset": self.dataset.text().strip(), "model": self.name.text().strip(), "initial": parent.reference if parent else None,
                "architecture": None if parent else chosen, "recipe": self.recipe.currentData(), "parameters": values}
