defmodule MappExtra do
  # An application that 1.2.0 adds: a registered process is all there is of it.
  use Application

  @impl true
  def start(_type, _args), do: Supervisor.start_link([], strategy: :one_for_one, name: :mapp_extra)
end
