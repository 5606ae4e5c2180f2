defmodule Mapp.Tick do
  # A child that 1.2.0 adds to Mapp.Supervisor.
  use Agent

  def start_link(_), do: Agent.start_link(fn -> nil end, name: __MODULE__)
end
